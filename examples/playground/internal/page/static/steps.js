// The steps of the page. Each asks the server for its numbers when it is seen, and when something that it depends on changes.

import { bars, curves, h, number, paint, percent, row, s, scroll, standalone, strip, table } from './draw.js';

const $ = (id) => document.getElementById(id);
const about = await fetch('api/about').then((r) => r.json());

/** ask requests numbers. */
async function ask(path, body, signal) {
  const response = await fetch('api/' + path, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal,
  });
  const reply = await response.json();
  if (!response.ok) throw new Error(reply.error);
  return reply;
}

/**
 * A Step is a section of the page. questions gives [path, body] pairs, or nothing if there is nothing to ask; show gets their
 * answers. Only what is in sight asks, and what goes out of sight, or asks anew, cancels what it asked before. Nothing is in sight
 * while the page is behind another.
 */
class Step {
  static all = [];
  static sight = new IntersectionObserver((entries) => {
    for (const e of entries) Step.all.find((step) => step.section === e.target).see(e.isIntersecting);
  }, { rootMargin: '150px' });

  constructor(id, questions, show) {
    Object.assign(this, { section: $(id), questions, show, near: false, visible: false, stale: true, asking: null });
    this.status = this.section.querySelector('.status');
    this.figure = this.section.querySelector('figure');
    Step.all.push(this);
    Step.sight.observe(this.section);
  }

  see(near) {
    this.near = near;
    this.visible = near && !document.hidden;
    if (!this.visible && this.asking) {
      this.asking.abort();
      this.stale = true;
    }
    if (this.visible && this.stale) this.refresh();
  }

  async refresh() {
    this.stale = true;
    this.asking?.abort();
    this.section.removeAttribute('data-ready');
    if (!this.visible) return;
    this.stale = false;
    const asking = this.asking = new AbortController();
    const late = setTimeout(() => this.figure.classList.add('waits'), 300);
    try {
      const answers = await Promise.all(this.questions().map(([path, body]) => ask(path, body, asking.signal)));
      if (asking.signal.aborted) return;
      this.status.textContent = '';
      await this.show(...answers);
      if (asking.signal.aborted) return;
      this.section.setAttribute('data-ready', '');
    } catch (e) {
      if (e.name !== 'AbortError') this.status.textContent = e instanceof TypeError ? 'The server does not answer: is it still running?' : e.message;
    } finally {
      clearTimeout(late);
      if (this.asking === asking) {
        this.asking = null;
        this.figure.classList.remove('waits');
      }
    }
  }
}

document.addEventListener('visibilitychange', () => Step.all.forEach((step) => step.see(step.near)));

/** on calls f for each change of controls. */
function on(ids, f) {
  for (const id of ids) $(id).addEventListener('input', f);
}

/** choice fills a row with a button for each name, one of which is pressed. */
function choice(element, names, pressed, choose) {
  const buttons = names.map((name, i) => h('button', { type: 'button', 'aria-pressed': String(i === pressed), click: () => choose(i) }, name));
  const focused = [...element.children].indexOf(document.activeElement);
  element.replaceChildren(...buttons);
  buttons[focused]?.focus();
}

/** sliders fills an element with a slider from 0 to 1 for each name, unless it has these already, and returns them. */
function sliders(element, names, values, change) {
  if (element.dataset.names !== names.join(' ')) {
    element.dataset.names = names.join(' ');
    element.replaceChildren(...names.flatMap((name, i) => {
      const id = `${element.id}-${i}`;
      return [h('label', { for: id }, name), h('input', { id, type: 'range', min: 0, max: 1, step: 0.01, value: values[i], input: change }), h('output', { for: id })];
    }));
  }
  return [...element.querySelectorAll('input')];
}

/** room is how wide a picture in an element may be: pictures are not scaled down, so that their text can be read. */
const room = (id, most) => Math.max(240, Math.min(most, $(id).clientWidth));

const near = (matches, most = 6) => bars(matches.slice(0, most).map((m) => [m.word, m.cosine]));

// The sentence that most steps are about, and whose vectors its words have.

const minilm = () => $('words-minilm').checked;
const dim = () => about.dims[+minilm()];
const sentence = (more) => ({ text: $('sentence').value, encoder: minilm(), ...more });
const ofText = []; // steps
const ofWords = (id, questions, show) => {
  const step = new Step(id, questions, show);
  ofText.push(step);
  return step;
};
let typed;
$('sentence').addEventListener('input', () => {
  clearTimeout(typed);
  typed = setTimeout(() => {
    note();
    ofText.forEach((step) => step.refresh());
  }, 150);
});
$('sentence-form').addEventListener('submit', (e) => e.preventDefault());
on(['words-glove', 'words-minilm'], () => {
  document.documentElement.classList.toggle('minilm', minilm());
  document.querySelectorAll('.dim').forEach((e) => { e.textContent = dim(); });
  $('far-scale').max = minilm() ? 10 : 1; // of shorter vectors
  note();
  [...ofText, far].forEach((step) => step.refresh());
});

async function note() {
  try {
    const { unknown } = await ask('words', sentence());
    $('sentence-note').textContent = unknown.length ? `Without a vector here, so left out: ${unknown.join(', ')}.` : '';
  } catch (e) {
    $('sentence-note').textContent = e.message;
  }
}

// 1. One word, many meanings.

let looked = 2; // the word that is looked at, counted in the sentence
const size = () => (minilm() ? 0.2 : 1.5); // of the largest numbers of vectors, as they are drawn
const meanings = ofWords('meanings', () => [['words', sentence()]], ({ words, vectors, nearest }) => {
  looked = Math.min(looked, words.length - 1);
  choice($('meanings-words'), words, looked, (i) => {
    looked = i;
    meanings.refresh();
    first.refresh();
  });
  $('meanings-vector').replaceChildren(strip(row(vectors, looked), `the vector of ${words[looked]}, ${dim()} numbers`, size()));
  $('meanings-nearest').replaceChildren(near(nearest[looked], 12));
});

// 2. Mixing.

const startOfMix = (words) => words.map((w) => (w === 'apple' ? 0.7 : w === 'phones' ? 0.3 : 0));
let mixWords = [];
const mixing = ofWords('mixing', () => [['words', mixing.asked = sentence()]], async ({ words }) => {
  mixing.shown = mixing.asked; // what the sliders are about, whatever is being typed
  if (mixWords.join() !== words.join()) {
    mixWords = words;
    const start = startOfMix(words);
    sliders($('mixing-sliders'), words, start.some((x) => x > 0) ? start : words.map(() => 1), mix);
  }
  await mix();
});
let mixAsking;
async function mix() {
  mixAsking?.abort();
  mixAsking = new AbortController();
  const inputs = [...$('mixing-sliders').querySelectorAll('input')];
  try {
    const { weights, nearest } = await ask('mix', { ...mixing.shown, weights: inputs.map((i) => +i.value), probes: [] }, mixAsking.signal);
    $('mixing-sliders').querySelectorAll('output').forEach((o, i) => {
      o.textContent = percent(weights[i]);
      o.dataset.value = weights[i];
    });
    $('mixing-nearest').replaceChildren(near(nearest));
    mixing.status.textContent = '';
  } catch (e) {
    if (e.name !== 'AbortError') mixing.status.textContent = e.message;
  }
}

// 3. From scores to shares.

const scores = [1, 3, 6].map((value, i) => {
  const id = `shares-score-${i}`;
  const input = h('input', { id, type: 'number', step: 0.5, min: -100, max: 100, value, input: () => shares.refresh() });
  $('shares-scores').append(h('label', { for: id }, ['first', 'second', 'third'][i]), input);
  return input;
});
const shares = new Step('shares', () => {
  $('shares-scale-value').textContent = number(+$('shares-scale').value, 2);
  return [['softmax', { scores: scores.map((i) => +i.value), scale: +$('shares-scale').value }]];
}, ({ weights, exponentials }) => {
  const grid = { rows: 3, cols: 2, data: weights.flatMap((w, i) => [exponentials[i], w]) };
  $('shares-result').replaceChildren(h('div', { class: 'pair' },
    bars(weights.map((w, i) => [scores[i].value || '0', w]), percent),
    table({ grid, rows: scores.map((i) => i.value || '0'), cols: ['e to the score less the largest', 'share'], caption: 'On the way', shares: true, digits: 4 })));
});
on(['shares-scale'], () => shares.refresh());

// 4. Where scores come from.

let pair = [2, 3];
const dots = ofWords('dots', () => [['words', sentence()]], ({ words, vectors, dots: grid }) => {
  pair = pair.map((i) => Math.min(i, words.length - 1));
  const show = (i, j) => {
    pair = [i, j];
    const [a, b] = [row(vectors, i), row(vectors, j)];
    $('dots-pair').replaceChildren(
      h('p', { class: 'figure' }, h('b', {}, words[i]), ' · ', h('b', {}, words[j]), ' = ', h('span', { class: 'number' }, number(grid.data[i * grid.cols + j]))),
      strip(a, `the vector of ${words[i]}`, size()), strip(b, `the vector of ${words[j]}`, size()),
      h('p', { class: 'small' }, 'Number by number, their products:'),
      strip(a.map((x, k) => x * b[k]), `the products of ${words[i]} and ${words[j]}`, minilm() ? 0.02 : 1.5));
  };
  $('dots-table').replaceChildren(table({ grid, rows: words, cols: words, caption: 'Dot products', digits: 2, pick: show, picked: pair }));
  show(...pair);
});

// 5. The first attention.

const scales = () => [1, 1 / Math.sqrt(dim()), 1 / dim()];
let scaled = 1; // which of these
$('first-scale').append(...[['1'], ['1/√', h('b', { class: 'dim' }, dim())], ['1/', h('b', { class: 'dim' }, dim())]].map((name, value) => h('label', { class: 'radio' },
  h('input', { type: 'radio', name: 'first-scale', value, checked: value === scaled, input: () => { scaled = value; first.refresh(); } }), h('span', {}, name))));
const first = ofWords('first', () => [['words', sentence()], ['attention', sentence({ scale: scales()[scaled] })]], (before, after) => {
  const { words } = after;
  looked = Math.min(looked, words.length - 1);
  $('first-weights').replaceChildren(table({ grid: after.weights, rows: words, cols: words, caption: 'What a word takes, from each word', shares: true }));
  choice($('first-words'), words, looked, (i) => {
    looked = i;
    first.refresh();
    meanings.refresh();
  });
  $('first-nearest').replaceChildren(h('div', { class: 'pair' },
    h('div', {}, h('h3', {}, `${words[looked]}, before`), near(before.nearest[looked])),
    h('div', {}, h('h3', {}, `${words[looked]}, after`), near(after.nearest[looked]))));
});

// 6. Queries, keys, values.

let seed = 1;
const roles = ofWords('roles', () => [['project', sentence({ seed })]], ({ words, dots: symmetric, scores: directed }) => {
  const grids = [symmetric, directed];
  const digits = minilm() ? 3 : 1;
  const show = (i, j) => {
    const says = (g) => `${words[i]}–${words[j]} ${number(g.data[i * g.cols + j], digits + 1)}, ${words[j]}–${words[i]} ${number(g.data[j * g.cols + i], digits + 1)}`;
    $('roles-mirror').textContent = `Left: ${says(grids[0])}. Right: ${says(grids[1])}.`;
    for (const id of ['roles-dots', 'roles-scores']) {
      const cells = $(id).querySelectorAll('tbody td');
      cells.forEach((c, k) => c.classList.toggle('mark', k === i * words.length + j || k === j * words.length + i));
    }
  };
  $('roles-dots').replaceChildren(table({ grid: symmetric, rows: words, cols: words, caption: 'Words times words', digits, pick: show }));
  $('roles-scores').replaceChildren(table({ grid: directed, rows: words, cols: words, caption: 'Queries times keys', digits, pick: show }));
  show(Math.min(2, words.length - 1), words.length - 1);
});
$('roles-again').addEventListener('click', () => {
  seed++;
  roles.refresh();
});

// 7. Every number once.

const three = ['first', 'second', 'third'];
const typedIn = {
  queries: { title: 'Q, queries', start: [1, 0, 2, 1, 2, 2] },
  keys: { title: 'K, keys', start: [1, 0, 1, 1, 0, 2] },
  values: { title: 'V, values', start: [1, 2, 0, 1, 2, 0] },
};
for (const [name, m] of Object.entries(typedIn)) {
  m.inputs = m.start.map((value, k) => h('input', {
    type: 'number', step: 0.5, min: -1000, max: 1000, value, id: `numbers-${name}-${k}`,
    'aria-label': `${name}, ${three[k >> 1]} word, number ${k % 2 + 1}`, input: () => numbers.refresh(),
  }));
  $('numbers-input').append(h('table', { class: 'plain' }, h('caption', {}, m.title), h('tbody', {},
    three.map((word, i) => h('tr', {}, h('th', { scope: 'row' }, word), m.inputs.slice(2 * i, 2 * i + 2).map((input) => h('td', {}, input)))))));
}
const typedGrid = (name) => ({ rows: 3, cols: 2, data: typedIn[name].inputs.map((i) => +i.value) });
const numbers = new Step('numbers', () => [['attention', {
  queries: typedGrid('queries'), keys: typedGrid('keys'), values: typedGrid('values'), scale: +$('numbers-scale').value,
}]], (r) => {
  const of = (grid, caption, cols, shares) => table({ grid, rows: three, cols, caption, shares, digits: 3 });
  $('numbers-result').replaceChildren(of(r.products, 'Q Kᵀ: each query, each key', three), of(r.scores, 'scaled', three),
    of(r.weights, 'shares: each row sums to 1', three, true), of(r.out, 'out: the values, mixed', ['1', '2']));
});
on(['numbers-scale'], () => numbers.refresh());
$('numbers-reset').addEventListener('click', () => {
  for (const m of Object.values(typedIn)) m.inputs.forEach((input, k) => { input.value = m.start[k]; });
  $('numbers-scale').value = 0.7071068;
  numbers.refresh();
});

// 8. What may be seen.

let hidden = new Set();
const masks = ofWords('masks', () => [['words', sentence()]], async ({ words }) => {
  hidden = new Set([...hidden].filter((i) => i < words.length));
  const request = sentence({ scale: scales()[1], causal: $('masks-causal').checked, hidden: [...hidden] });
  if ($('masks-window').checked) request.window = { left: +$('masks-left').value, right: +$('masks-right').value };
  const length = Math.min(+$('masks-length').value, words.length);
  if (length < words.length) request.keyLen = length;
  const { scores: seen, weights } = await ask('attention', request, masks.asking.signal);
  // What is hidden has a score of −∞, and no share.
  const grid = { ...weights, data: weights.data.map((w, k) => (seen.data[k] === null ? null : w)) };
  const keys = words.map((w, i) => h('button', { type: 'button', 'aria-pressed': String(!hidden.has(i)), click: () => {
    hidden.has(i) ? hidden.delete(i) : hidden.add(i);
    masks.refresh();
  } }, w));
  const focused = [...$('masks-keys').children].indexOf(document.activeElement);
  $('masks-keys').replaceChildren(...keys);
  keys[focused]?.focus();
  $('masks-weights').replaceChildren(table({ grid, rows: words, cols: words, caption: `Shares, at scale 1/√${dim()}`, shares: true }));
});
on(['masks-causal', 'masks-window', 'masks-left', 'masks-right', 'masks-length'], () => masks.refresh());

// 9. However far.

const far = new Step('far', () => {
  const tokens = 2 ** $('far-tokens').value;
  const distance = 1 + Math.round($('far-distance').value * (tokens - 2));
  $('far-tokens-value').textContent = tokens;
  $('far-distance-value').textContent = distance;
  $('far-scale-value').textContent = number(+$('far-scale').value, 2);
  $('far-slope-value').textContent = number(+$('far-slope').value, 3);
  far.asked = { tokens, distance, scale: +$('far-scale').value, slope: +$('far-slope').value, encoder: minilm() };
  return [['far', far.asked]];
}, ({ weight, other }) => {
  const { tokens, distance } = far.asked;
  const x = (back) => 600 - 590 * (back / tokens);
  $('far-picture').replaceChildren(s('svg', { viewBox: '0 0 640 90', width: 640, role: 'img', 'aria-label': `phones, ${distance} words before apple` },
    s('path', { class: 'axis', d: 'M10 60H600' }),
    s('path', { class: 'line', 'stroke-opacity': Math.max(0.15, Math.min(1, weight * 20)), d: `M600 56Q${(600 + x(distance)) / 2} ${56 - Math.min(60, 20 + 40 * distance / tokens)} ${x(distance)} 56` }),
    s('circle', { class: 'dot b', cx: x(distance), cy: 60, r: 5 }), s('circle', { class: 'dot', cx: 600, cy: 60, r: 5 }),
    s('text', { x: x(distance), y: 82, 'text-anchor': 'middle' }, 'phones'), s('text', { x: 600, y: 82, 'text-anchor': 'middle' }, 'apple')));
  $('far-result').replaceChildren('phones gets ', h('b', { class: 'number', 'data-value': weight }, percent(weight)), ', another word ',
    h('b', { class: 'number', 'data-value': other }, percent(other)), other > 0 ? `: ${number(weight / other, 1)} times as much.` : '.');
});
on(['far-tokens', 'far-distance', 'far-scale', 'far-slope'], () => far.refresh());

// 10. What it costs.

const measured = new Map();
const tokens = () => Math.round(2 ** $('cost-tokens').value);
const bytes = (n) => (n < 1 << 20 ? `${number(n / 1024, 0)} KiB` : `${number(n / (1 << 20), 0)} MiB`);
const time = (t) => (t < 1e-3 ? `${number(t * 1e6, 1)} µs` : t < 1 ? `${number(t * 1e3, 1)} ms` : `${number(t, 2)} s`);
const cost = new Step('cost', () => {
  $('cost-tokens-value').textContent = tokens();
  return [['cost', { tokens: tokens() }]];
}, (r) => {
  measured.set(r.tokens, r);
  const item = (name, value, of) => [h('dt', {}, name), h('dd', { class: 'number', 'data-value': of }, value)];
  $('cost-result').replaceChildren(h('dl', { class: 'facts' },
    item('pairs of words', r.pairs.toLocaleString('en').replaceAll(',', ' '), r.pairs),
    item('memory of the table', bytes(r.matrix), r.matrix), item('memory of the fused kernel', bytes(r.scratch), r.scratch),
    item('time, fused', time(r.fused), r.fused), item('time, with the table', r.steps === null ? 'not tried: the table is too large' : time(r.steps), r.steps)),
  h('p', { class: 'small' }, r.plan));
  const all = [...measured.values()].sort((a, b) => a.tokens - b.tokens);
  const log = (kind) => all.filter((m) => m[kind] !== null).map((m) => [Math.log2(m.tokens), Math.log10(m[kind])]);
  const [at, t] = log('fused').at(-1);
  const guide = (n) => [n, t + 2 * (n - at) * Math.log10(2)];
  $('cost-chart').replaceChildren(curves({
    label: 'time over the number of words', width: room('cost-chart', 560), x: { from: 4, to: 13, ticks: [4, 6, 8, 10, 13].map((n) => [n, 2 ** n]) },
    y: { from: -6.5, to: 0.5, ticks: [[-6, '1 µs'], [-5, '10 µs'], [-4, '100 µs'], [-3, '1 ms'], [-2, '10 ms'], [-1, '0.1 s'], [0, '1 s']] },
    lines: [{ points: [guide(Math.max(4, at - (t + 6.5) / (2 * Math.log10(2)))), guide(Math.min(13, at + (0.5 - t) / (2 * Math.log10(2))))], dotted: true },
      { points: log('fused'), dots: true, name: 'fused' }, { points: log('steps'), dots: true, kind: 'b', name: 'with the table' }],
  }));
});
on(['cost-tokens'], () => {
  $('cost-tokens-value').textContent = tokens();
  cost.refresh();
});

// 11. Where meaning goes.

const words = (id) => $(id).value.toLowerCase().split(/[^\p{L}]+/u).filter((w) => w).slice(0, about.mostWords);
const meaning = new Step('meaning', () => [['meaning', {
  texts: [$('meaning-a').value, $('meaning-b').value], word: $('meaning-word').value, probes: words('meaning-probes'), encoder: $('meaning-encoder').checked,
}]], ({ layers, between, cosines }) => {
  const probes = words('meaning-probes');
  const last = layers - 1;
  const ticks = layers > 2 ? [...Array(layers).keys()].map((l) => [l, l]) : [[0, 'before'], [1, 'after']];
  $('meaning-charts').replaceChildren(...probes.map((probe, p) => h('div', {}, h('h3', {}, probe), curves({
    label: `cosine with ${probe}, layer by layer: in the first sentence from ${number(cosines[0][0][p], 2)} to ${number(cosines[0][last][p], 2)}, in the second to ${number(cosines[1][last][p], 2)}`,
    width: 200, height: 130, left: 34, bottom: 24, x: { from: -0.15, to: last + 0.15, ticks }, y: { from: -0.1, to: 1, ticks: [[0, '0'], [0.5, '.5'], [1, '1']] },
    lines: cosines.map((text, t) => ({ points: text.map((l, i) => [i, l[p]]), dots: true, kind: t ? 'b' : '' })),
  }))));
  const rows = [...Array(layers).keys()];
  const grid = { rows: layers, cols: 1 + 2 * probes.length, data: rows.flatMap((l) => [between[1][l], ...probes.flatMap((_, p) => [cosines[0][l][p], cosines[1][l][p]])]) };
  $('meaning-between').replaceChildren(h('details', {}, h('summary', {}, 'As numbers'), table({
    grid, rows: rows.map((l) => (l ? `layer ${l}` : 'before')), cols: ['each other', ...probes.flatMap((p) => [`${p}, first`, `${p}, second`])],
    caption: 'Cosines of the word, in the first and in the second sentence', digits: 3,
  })));
});
on(['meaning-a', 'meaning-b', 'meaning-word', 'meaning-probes'], () => {
  clearTimeout(meaning.typed);
  meaning.typed = setTimeout(() => meaning.refresh(), 250);
});
on(['meaning-encoder'], () => meaning.refresh());
$('meaning-form').addEventListener('submit', (e) => e.preventDefault());

// 12. A map of meaning.

let trail = [];
let mapWords = []; // whose vectors, and of which words
const mapInputs = () => [...$('map-sliders').querySelectorAll('input')];
const map = ofWords('map', () => [['attention', { ...(map.asked = sentence()), scale: scales()[1] }]], async ({ words: known, weights }) => {
  map.shown = map.asked;
  map.weights = weights;
  const now = [dim(), ...known];
  if (mapWords.join() !== now.join()) {
    mapWords = now;
    trail = [];
    const start = Math.max(0, known.indexOf('apple'));
    sliders($('map-sliders'), known, known.map((_, i) => (i === start ? 1 : 0)), moved);
    $('map-word').replaceChildren(...known.map((w, i) => h('option', { value: i, selected: i === start }, w)));
  }
  await moved();
});
let mapAsking;
async function moved() {
  mapAsking?.abort();
  mapAsking = new AbortController();
  try {
    const r = await ask('mix', { ...map.shown, weights: mapInputs().map((i) => +i.value), probes: words('map-probes') }, mapAsking.signal);
    $('map-sliders').querySelectorAll('output').forEach((o, i) => { o.textContent = percent(r.weights[i]); });
    drawMap(r);
    map.status.textContent = '';
  } catch (e) {
    if (e.name !== 'AbortError') map.status.textContent = e.message;
  }
}
function drawMap({ points, at, spread, probes }) {
  const [width, height, edge] = [room('map-picture', 640), 420, 70];
  const all = [...points, at];
  const bounds = ['x', 'y'].map((c) => [Math.min(...all.map((p) => p[c])), Math.max(...all.map((p) => p[c]))]);
  const unit = Math.max((bounds[0][1] - bounds[0][0]) / (width - 2 * edge), (bounds[1][1] - bounds[1][0]) / (height - 2 * edge), 1e-9);
  const x = (p) => width / 2 + (p.x - (bounds[0][0] + bounds[0][1]) / 2) / unit;
  const y = (p) => height / 2 - (p.y - (bounds[1][0] + bounds[1][1]) / 2) / unit;
  trail = [...trail.slice(-200), at];
  // A name stands to the right of its point or to the left, as far up or down as it has to be to touch no other name or point.
  const taken = points.map((p) => ({ left: x(p) - 6, right: x(p) + 6, top: y(p) - 6, bottom: y(p) + 6 }));
  for (const p of [...points].sort((a, b) => y(a) - y(b))) {
    const wide = 7.5 * p.word.length;
    const places = [0, 4, -4, 8, -8, 12, -12, 16, -16, 20, -20].flatMap((down) => [x(p) + 8, x(p) - 8 - wide]
      .map((left) => ({ left, right: left + wide, top: y(p) + down - 8, bottom: y(p) + down + 6 })));
    const clear = (a) => a.left >= 0 && a.right <= width && taken.every((b) => a.left >= b.right || b.left >= a.right || a.top >= b.bottom || b.top >= a.bottom);
    const place = places.find(clear) ?? places[0];
    taken.push(place);
    p.name = { x: place.left < x(p) ? x(p) - 8 : x(p) + 8, y: place.bottom - 2, 'text-anchor': place.left < x(p) ? 'end' : 'start' };
  }
  $('map-picture').replaceChildren(s('svg', {
    viewBox: `0 0 ${width} ${height}`, width, role: 'img', 'data-x': at.x, 'data-y': at.y,
    'aria-label': 'the mix among the words; nearest: ' + [...probes].sort((a, b) => b.cosine - a.cosine).slice(0, 3).map((m) => `${m.word} ${number(m.cosine, 2)}`).join(', '),
  },
  s('polyline', { class: 'trail', points: trail.map((p) => `${x(p)},${y(p)}`).join(' ') }),
  points.map((p) => [s('circle', { class: p.probe ? 'soft' : 'dot', cx: x(p), cy: y(p), r: 4 }),
    s('text', { class: p.probe ? 'soft' : '', ...p.name }, p.word)]),
  s('circle', { class: 'ring', cx: x(at), cy: y(at), r: 9 })),
  h('p', { class: 'small' }, `The map shows ${percent(spread)} of how these words differ; the rest is in the other ${dim() - 2} dimensions.`));
}
$('map-attention').addEventListener('click', () => {
  const weights = row(map.weights, +$('map-word').value);
  const from = mapInputs().map((i) => +i.value);
  const steps = matchMedia('(prefers-reduced-motion: reduce)').matches ? 1 : 20;
  let step = 0;
  const go = async () => {
    step++;
    mapInputs().forEach((input, i) => { input.value = from[i] + (weights[i] - from[i]) * step / steps; });
    await moved();
    if (step < steps && map.visible) requestAnimationFrame(go);
  };
  go();
});
on(['map-probes'], () => {
  trail = [];
  moved();
});

// 13. Heads.

let head = [0, 0];
let looks = 3;
const heads = ofWords('heads', () => [['heads', sentence({ encoder: $('heads-encoder').checked })]], (r) => {
  heads.reply = r;
  head = [Math.min(head[0], r.weights.length - 1), Math.min(head[1], r.weights[0].length - 1)];
  const n = r.tokens.length;
  looks = Math.min(looks, n - 1);
  const grid = (w) => ({ rows: n, cols: n, data: w });
  $('heads-all').replaceChildren(...r.weights.map((layer, l) => h('div', { class: 'layer' }, h('span', {}, `layer ${l + 1}`),
    layer.map((w, k) => h('button', {
      type: 'button', 'aria-label': `layer ${l + 1}, head ${k + 1}`, 'aria-pressed': String(l === head[0] && k === head[1]), click: () => chooseHead(l, k),
    }, paint(grid(w), { size: 6 }))))));
  $('heads-caption').textContent = $('heads-encoder').checked
    ? 'Row by row, how a token shares out its attention. [CLS] and [SEP] begin and end a text; heads that find nothing to take look there.'
    : 'Row by row, how a word shares out its attention: GloVe vectors cut into four heads of 25 numbers, with nothing learned.'
      + (about.encoder ? '' : ' With a real encoder there are 72 heads: fetch its model by go run -C examples/encoder . fetch, and start this page again.');
  chooseHead(...head);
});
function chooseHead(l, k) {
  head = [l, k];
  const { tokens: names, weights } = heads.reply;
  const n = names.length;
  $('heads-all').querySelectorAll('button').forEach((b, i) => b.setAttribute('aria-pressed', String(i === l * weights[0].length + k)));
  const data = weights[l][k];
  const size = Math.max(14, Math.min(34, Math.floor(420 / n)));
  const left = 12 + 8 * Math.max(...names.map((t) => t.length));
  const extra = names.map((t, i) => [
    s('text', { x: left - 6, y: left + i * size + size / 2 + 5, 'text-anchor': 'end' }, t),
    s('text', { transform: `translate(${left + i * size + size / 2 + 5} ${left - 6}) rotate(-90)` }, t)]);
  extra.push(s('rect', { class: 'mark-row', id: 'heads-row', x: left, width: n * size, height: size }));
  const picture = paint({ rows: n, cols: n, data }, { size, left, top: left, width: left + n * size + 4, height: left + n * size + 4, extra, label: `attention of layer ${l + 1}, head ${k + 1}` });
  picture.addEventListener('pointermove', (e) => {
    const box = picture.getBoundingClientRect();
    const i = Math.floor(((e.clientY - box.top) * (left + n * size + 4) / box.height - left) / size);
    if (i >= 0 && i < n && i !== looks) look(i);
  });
  $('heads-one').replaceChildren(h('h3', {}, `Layer ${l + 1}, head ${k + 1}`), scroll('the enlarged head', picture));
  $('heads-words').replaceChildren(...names.map((t, i) => h('button', { type: 'button', click: () => look(i), pointerenter: () => look(i), focus: () => look(i) }, t)));
  const look = (i) => {
    looks = i;
    $('heads-row').setAttribute('y', left + i * size);
    [...$('heads-words').children].forEach((b, j) => {
      const w = data[i * n + j];
      b.style.setProperty('--w', w);
      b.dataset.value = w;
      b.setAttribute('aria-pressed', String(j === i));
      b.title = `${names[i]} takes ${percent(w)} from ${names[j]}`;
      b.setAttribute('aria-label', j === i ? `${names[j]}, looks: takes ${percent(w)} from itself` : `${names[j]}: gives ${percent(w)}`);
    });
  };
  look(looks);
}
on(['heads-encoder'], () => heads.refresh());
async function copy(picture) {
  try {
    await navigator.clipboard.writeText(standalone(picture));
    $('heads-copied').textContent = 'Copied.';
  } catch {
    $('heads-copied').textContent = 'The browser does not allow to copy.';
  }
}
$('heads-copy').addEventListener('click', () => copy($('heads-one').querySelector('svg')));
$('heads-copy-all').addEventListener('click', () => {
  const { tokens: names, weights } = heads.reply;
  const n = names.length;
  const side = n * 6 + 8;
  const all = s('svg', { viewBox: `0 0 ${70 + weights[0].length * side} ${20 + weights.length * side}` });
  weights.forEach((layer, l) => {
    all.append(s('text', { x: 4, y: 20 + l * side + n * 3 + 4 }, `layer ${l + 1}`));
    layer.forEach((data, k) => all.append(s('g', { transform: `translate(${70 + k * side} ${20 + l * side})` }, [...paint({ rows: n, cols: n, data }, { size: 6 }).children])));
  });
  $('heads-one').append(all); // it has colours only on the page
  copy(all).finally(() => all.remove());
});

// 14. Learning.

let run = null; // what lets the training of the moment be stopped
let learned = null; // the last reply
let losses = [];
let start = 1;
const learning = new Step('learning', () => (learned ? [] : [['learn', { seed: start, steps: 0 }]]), (r) => {
  if (r) showLearning(r);
});
function showLearning(r) {
  learned = r;
  losses.push(...r.losses);
  $('learning-count').textContent = `step ${r.state.step}` + (losses.length ? `, loss ${number(losses.at(-1), 4)}` : '');
  $('learning-count').dataset.value = losses.at(-1) ?? '';
  const steps = Math.max(200, r.state.step);
  $('learning-loss').replaceChildren(curves({
    label: `loss over ${r.state.step} steps`, width: room('learning-loss', 560), height: 180,
    x: { from: 0, to: steps, ticks: [0, steps / 2, steps].map((n) => [n, Math.round(n)]) }, y: { from: 0, to: Math.max(1, ...losses), ticks: [[0, '0'], [0.5, '0.5'], [1, '1']] },
    lines: [{ points: losses.map((loss, i) => [i, Math.max(0, loss)]) }],
  }));
  const [rows, cols] = r.dims;
  $('learning-matrices').replaceChildren(...['W_Q: what a word looks for', 'W_K: what it is found by', 'W_V: what it hands over'].map((name, m) => {
    const w = r.state.w.slice(m * rows * cols, (m + 1) * rows * cols);
    const turned = { rows: cols, cols: rows, data: Array.from({ length: rows * cols }, (_, k) => w[(k % rows) * cols + Math.floor(k / rows)]) };
    return h('div', {}, h('h3', {}, name), paint(turned, { size: 6, signed: true, largest: 0.3, label: `${name}, ${rows} by ${cols}` }));
  }));
  $('learning-lessons').replaceChildren(...r.examples.map((e) => h('div', { class: 'lesson' },
    h('h3', {}, e.words.join(' '), h('span', { class: 'small' }, e.learned ? ' (learned from)' : ' (never shown)')),
    table({ grid: e.weights, rows: e.words, cols: e.words, caption: `${e.words[1]} should be ${r.meanings[e.meaning]}`, shares: true, digits: 2 }),
    bars(e.near.map((x, i) => [r.meanings[i], x]), (x) => number(x, 2)))));
}
async function train(steps) {
  if (run) {
    run.abort();
    return;
  }
  const mine = run = new AbortController();
  $('learning-run').textContent = 'Pause';
  $('learning-run').setAttribute('aria-pressed', 'true');
  try {
    for (let left = steps; left > 0 && learning.visible; left--) {
      const r = await ask('learn', learned ? { state: learned.state, steps: 1 } : { seed: start, steps: 1 }, mine.signal);
      showLearning(r);
      await new Promise((done) => setTimeout(done, 16));
    }
    learning.status.textContent = '';
  } catch (e) {
    if (e.name !== 'AbortError') learning.status.textContent = e.message;
  }
  run = null;
  $('learning-run').textContent = 'Start';
  $('learning-run').setAttribute('aria-pressed', 'false');
}
$('learning-run').addEventListener('click', () => train(400));
$('learning-step').addEventListener('click', () => train(1));
$('learning-seed').addEventListener('click', () => {
  run?.abort();
  start++;
  losses = [];
  learned = null;
  learning.refresh();
});

// The page itself.

$('about').textContent = `Numbers by package kernel: ${about.backend} on ${about.architecture}, ${about.processors} processors. Nothing leaves this machine. `
  + `The words that have GloVe vectors here: ${about.words.slice(0, 12).join(', ')} …`;
if (about.encoder) {
  for (const id of ['meaning-encoder', 'heads-encoder']) $(id).checked = true;
} else {
  document.documentElement.classList.add('no-encoder');
}
note();
