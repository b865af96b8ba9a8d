//go:build openblas

package main

// #cgo LDFLAGS: -lopenblas
// #include <cblas.h>
// char *openblas_get_config(void);
// void openblas_set_num_threads(int);
import "C"

import (
	"strings"

	"github.com/selfattn/attn/kernel"
)

// OpenBLAS, through cgo. In attention heads run in parallel, so that a product is one thread's.
func init() {
	C.openblas_set_num_threads(1)
	p := products("openblas", strings.Fields(C.GoString(C.openblas_get_config()))[1], 0, openblasGemm)
	p.matMul = func(c, a, b kernel.Matrix, workers int) {
		C.openblas_set_num_threads(C.int(workers))
		openblasGemm(c.Data, 1, a.Data, b.Data, a.Rows, a.Cols, b.Cols, false)
		C.openblas_set_num_threads(1)
	}
	tagged = append(tagged, p)
}

func openblasGemm(c []float32, alpha float32, a, b []float32, m, k, n int, trans bool) {
	transB, ldb := C.enum_CBLAS_TRANSPOSE(C.CblasNoTrans), n
	if trans {
		transB, ldb = C.CblasTrans, k
	}
	C.cblas_sgemm(C.CblasRowMajor, C.CblasNoTrans, transB, C.int(m), C.int(n), C.int(k), C.float(alpha),
		(*C.float)(&a[0]), C.int(k), (*C.float)(&b[0]), C.int(ldb), 0, (*C.float)(&c[0]), C.int(n))
}
