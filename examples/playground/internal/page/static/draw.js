// What is drawn: tables, bars, curves and maps. Nothing here computes a number that is shown.

const svgSpace = 'http://www.w3.org/2000/svg';

/** h makes an element; attributes that are functions become listeners, and those that are undefined, null or false are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** s makes an element of SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(svgSpace, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (name === 'w') element.style.setProperty('--w', value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined));
  return element;
}

/** number writes a number with as many digits as its size deserves, and a real minus sign. */
export function number(x, digits = 3) {
  if (x === null) return '−∞';
  const size = Math.abs(x);
  if (size < 0.5 * 10 ** -digits) return size === 0 || digits < 3 ? (0).toFixed(digits) : x.toExponential(0).replaceAll('-', '−');
  return x.toFixed(size >= 100 ? Math.min(digits, 1) : size >= 10 ? Math.min(digits, 2) : digits).replace('-', '−');
}

/** percent writes a share. */
export function percent(x) {
  const p = 100 * x;
  if (p !== 0 && p < 0.05) return p.toExponential(0).replace('-', '−') + ' %';
  return p.toFixed(p >= 99.95 ? 0 : 1) + ' %';
}

/** row returns row i of a grid. */
export const row = (grid, i) => grid.data.slice(i * grid.cols, (i + 1) * grid.cols);

/**
 * table shows a grid with a name for each row and column. Shares are coloured as they are, other numbers beside the largest.
 * A cell carries its number in data-value. pick is called with the row and column of the cell that is pointed at or moved to.
 */
export function table({ grid, rows, cols, caption, shares = false, digits = 3, pick, picked }) {
  const largest = shares ? 1 : Math.max(...grid.data.map((x) => Math.abs(x ?? 0)), 1e-30);
  const cells = [];
  const body = rows.map((name, i) => h('tr', {}, h('th', { scope: 'row' }, name), row(grid, i).map((x, j) => {
    const hidden = x === null;
    const cell = h('td', {
      'data-value': hidden ? 'hidden' : x, w: hidden ? 0 : Math.min(1, Math.abs(x) / largest),
      class: hidden ? 'hidden' : x < 0 ? 'below' : undefined,
    }, number(x, digits));
    cells.push(cell);
    if (pick) {
      const first = picked ? picked[0] === i && picked[1] === j : i === 0 && j === 0;
      cell.tabIndex = first ? 0 : -1;
      const choose = () => pick(i, j, (a, b) => cells[a * cols.length + b]);
      cell.addEventListener('focus', choose);
      cell.addEventListener('pointerenter', choose);
      cell.addEventListener('click', () => cell.focus());
      cell.addEventListener('keydown', (e) => {
        const [di, dj] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key] ?? [0, 0];
        const to = cells[(i + di) * cols.length + j + dj];
        if ((di || dj) && to && j + dj >= 0 && j + dj < cols.length) {
          e.preventDefault();
          cell.tabIndex = -1;
          to.tabIndex = 0;
          to.focus();
        }
      });
    }
    return cell;
  })));
  return scroll(caption, h('table', pick ? { role: 'grid' } : {}, h('caption', {}, caption),
    h('thead', {}, h('tr', {}, h('td', { class: 'corner' }), cols.map((c) => h('th', { scope: 'col' }, c)))), h('tbody', {}, body)));
}

/** scroll lets something wide scroll by itself, with the keyboard too. */
export function scroll(label, content) {
  return h('div', { class: 'scroll', role: 'group', 'aria-label': label, tabindex: '0' }, content);
}

/** bars lists names with a bar and a number each. Bars are shares of 1. */
export function bars(items, write = (x) => number(x, 3)) {
  return h('dl', { class: 'bars' }, items.map(([name, x]) => [
    h('dt', {}, name),
    h('dd', {}, h('div', { class: x < 0 ? 'bar below' : 'bar', w: Math.min(1, Math.abs(x)) })),
    h('dd', { class: 'number', 'data-value': x }, write(x)),
  ]));
}

/** strip draws the numbers of a vector side by side. */
export function strip(vector, label, largest) {
  const [width, height] = [700, 40];
  const one = width / vector.length;
  return s('svg', { viewBox: `0 0 ${width} ${height}`, width, role: 'img', 'aria-label': label },
    s('path', { class: 'axis', d: `M0 ${height / 2}H${width}` }),
    vector.map((x, i) => {
      const size = Math.min(1, Math.abs(x) / largest) * height / 2;
      return s('rect', { class: x < 0 ? 'neg' : 'pos', x: i * one, y: x < 0 ? height / 2 : height / 2 - size, width: one * 6 / 7, height: size });
    }));
}

/** paint draws a grid as a map of shades, a path for each shade. */
export function paint(grid, { size = 10, label, signed = false, largest = 1, extra = [], left = 0, top = 0, width, height }) {
  const shades = 16;
  const paths = new Map();
  grid.data.forEach((x, k) => {
    const shade = Math.min(shades, Math.round(Math.abs(x) / largest * shades));
    if (shade === 0) return;
    const key = signed && x < 0 ? -shade : shade;
    const at = `M${left + (k % grid.cols) * size} ${top + Math.floor(k / grid.cols) * size}h${size}v${size}h-${size}z`;
    paths.set(key, (paths.get(key) ?? '') + at);
  });
  const w = width ?? grid.cols * size;
  const t = height ?? grid.rows * size;
  return s('svg', { viewBox: `0 0 ${w} ${t}`, width: w, ...(label ? { role: 'img', 'aria-label': label } : { 'aria-hidden': 'true' }) },
    s('rect', { class: 'frame', x: left, y: top, width: grid.cols * size, height: grid.rows * size }),
    [...paths].map(([key, d]) => s('path', { class: key < 0 ? 'neg' : 'pos', 'fill-opacity': Math.abs(key) / shades, d })), extra);
}

/** curves draws lines of points [x, y] in a frame, with ticks [place, text] on both axes, and the names of lines at the top left. */
export function curves({ lines, x, y, width = 560, height = 260, label, left = 56, bottom = 30 }) {
  const px = (v) => left + (v - x.from) / (x.to - x.from) * (width - left - 24);
  const py = (v) => height - bottom - (v - y.from) / (y.to - y.from) * (height - bottom - 12);
  return s('svg', { viewBox: `0 0 ${width} ${height}`, width, role: 'img', 'aria-label': label },
    y.ticks.map(([v, name]) => [s('path', { class: 'axis', d: `M${left} ${py(v)}H${width - 24}` }),
      s('text', { class: 'soft', x: left - 6, y: py(v) + 4, 'text-anchor': 'end' }, name)]),
    x.ticks.map(([v, name]) => s('text', { class: 'soft', x: px(v), y: height - 8, 'text-anchor': 'middle' }, name)),
    lines.map(({ points, kind = '', dots = false, dotted = false }) => [
      points.length > 1 ? s('polyline', { class: dotted ? 'dotted' : `line ${kind}`, points: points.map(([a, b]) => `${px(a)},${py(b)}`).join(' ') }) : null,
      dots ? points.map(([a, b]) => s('circle', { class: `dot ${kind}`, cx: px(a), cy: py(b), r: 4 })) : null,
    ]),
    lines.filter((l) => l.name).map(({ kind = '', name }, i) => [s('path', { class: `line ${kind}`, d: `M${left + 8} ${20 + 18 * i}h16` }),
      s('text', { x: left + 30, y: 24 + 18 * i }, name)]));
}

/** standalone returns the text of a picture that needs no style sheet. */
export function standalone(picture) {
  const copy = picture.cloneNode(true);
  const to = [copy, ...copy.querySelectorAll('*')];
  [picture, ...picture.querySelectorAll('*')].forEach((from, i) => {
    const style = getComputedStyle(from);
    for (const name of ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-opacity', 'font-family', 'font-size']) {
      if (from !== picture && !to[i].hasAttribute(name)) to[i].setAttribute(name, style.getPropertyValue(name));
    }
    to[i].removeAttribute('class');
  });
  const [x, y, width, height] = picture.getAttribute('viewBox').split(' ');
  copy.setAttribute('width', width);
  copy.setAttribute('height', height);
  copy.prepend(s('rect', { x, y, width, height, fill: getComputedStyle(picture.closest('figure')).backgroundColor }));
  return new XMLSerializer().serializeToString(copy);
}
