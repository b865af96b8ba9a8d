package limit

var sink float32

// scalarFMA is what plain Go can do: 8 independent chains.
func scalarFMA() (flops int) {
	const steps = 4000
	var a [8]float32
	x, y := sink+0.5, sink+0.25
	for range steps {
		a[0] = a[0]*x + y
		a[1] = a[1]*x + y
		a[2] = a[2]*x + y
		a[3] = a[3]*x + y
		a[4] = a[4]*x + y
		a[5] = a[5]*x + y
		a[6] = a[6]*x + y
		a[7] = a[7]*x + y
	}
	var s float32
	for _, v := range a {
		s += v
	}
	sink = s * 0
	return 16 * steps
}

func scalarRead(x []float32) {
	var s0, s1, s2, s3 float32
	for ; len(x) >= 4; x = x[4:] {
		s0 += x[0]
		s1 += x[1]
		s2 += x[2]
		s3 += x[3]
	}
	sink = (s0 + s1 + s2 + s3) * 0
}
