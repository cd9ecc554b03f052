/* The page of msockctl serve. It listens to /events and keeps what it plots itself; the server keeps
 * nothing. Invariant: whatever comes from there becomes text (textContent), never markup. */
'use strict';

const HISTORY = 900; /* seconds */
const ROWS_SHOWN = 250;
const $ = (id) => document.getElementById(id);

function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

/* --- numbers for people --- */

function number(n) {
  if (n === null || n === undefined || !isFinite(n)) return '–';
  if (n >= 1e9) return (n / 1e9).toFixed(2) + ' G';
  if (n >= 1e6) return (n / 1e6).toFixed(2) + ' M';
  if (n >= 1e4) return (n / 1e3).toFixed(1) + ' k';
  return n >= 100 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(1);
}

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  if (n === null || n === undefined || !isFinite(n)) return '–';
  for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return (unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + ' ' + units[unit];
}

function duration(us) {
  if (us === null || us === undefined || !isFinite(us)) return '–';
  if (us < 1000) return Math.round(us) + ' µs';
  return us < 1e6 ? (us / 1e3).toFixed(us < 1e4 ? 2 : 1) + ' ms' : (us / 1e6).toFixed(2) + ' s';
}

function age(s) {
  const two = (n) => String(Math.floor(n)).padStart(2, '0');
  const days = Math.floor(s / 86400);
  return (days > 0 ? days + 'd ' : '') + two(s / 3600 % 24) + ':' + two(s / 60 % 60) + ':' + two(s % 60);
}

const percent = (n) => n === null || !isFinite(n) ? '–' : n.toFixed(n < 10 ? 1 : 0) + ' %';

/* --- from two looks to rates --- */

/* The value below which that share of the new messages lies; buckets are [microseconds, count]. */
function percentile(buckets, share) {
  const all = buckets.reduce((sum, b) => sum + b[1], 0);
  let seen = 0;
  for (const [us, n] of buckets) {
    seen += n;
    if (seen >= all * share) return us;
  }
  return null;
}

function histogramGrown(now, before) {
  const old = new Map(before);
  return now.map(([us, n]) => [us, n - (old.get(us) || 0)]).filter((b) => b[1] > 0)
    .sort((a, b) => a[0] - b[0]);
}

/* One point of all plots. Where there was no look before in this run, rates are unknown. */
function measure(now, before) {
  const t = now.stats.total, r = now.resources;
  const same = before !== null && before.run === now.run && now.taken_us > before.taken_us;
  const s = same ? (now.taken_us - before.taken_us) / 1e6 : 0;
  const rate = (key) => same ? Math.max(0, t[key] - before.stats.total[key]) / s : null;
  const grown = same ? histogramGrown(now.histogram, before.histogram) : [];
  const commits = rate('commits');
  return {
    messages: rate('messages'), acks: rate('acks'), bytes_in: rate('bytes_in'), bytes_out: rate('bytes_out'),
    p50: percentile(grown, 0.5), p90: percentile(grown, 0.9), p99: percentile(grown, 0.99),
    worst: percentile(grown, 1), nack1: rate('nack1'), nack2: rate('nack2'), rej: rate('rej'), err: rate('err'),
    open: t.open, accepted: rate('accepted'), commits,
    per_commit: commits > 0 ? rate('committed') / commits : null,
    duplicates: rate('duplicates'), refused: rate('refused'),
    sources: now.sources, penalized: now.penalized,
    disk: r.disk > 0 ? 100 * (1 - r.disk_free / r.disk) : null,
    held: t.memory_max > 0 ? 100 * t.memory / t.memory_max : null,
    memory: r.machine_memory > 0 ? 100 * r.memory / r.machine_memory : null,
  };
}

/* --- plots --- */

/* Title, how a value reads, lines: key, name and whether its scale is the one on the right. A bound is
 * the top of the scale. */
const PLOTS = [
  ['Messages a second', number, [['messages', 'committed'], ['acks', 'ACK']]],
  ['Bytes a second', bytes, [['bytes_in', 'in'], ['bytes_out', 'out']]],
  ['First byte to final answer', duration, [['p50', 'p50'], ['p90', 'p90'], ['p99', 'p99'], ['worst', 'max']]],
  ['Refused a second', number, [['nack1', 'NACK1'], ['nack2', 'NACK2'], ['rej', 'REJ'], ['err', 'ERR']]],
  ['Connections', number, [['open', 'open'], ['accepted', 'new a second'], ['refused', 'turned away a second']]],
  ['Commits', number, [['commits', 'a second'], ['per_commit', 'messages in each', true]]],
  ['Copies and sources', number, [['duplicates', 'duplicates a second'], ['sources', 'sources', true], ['penalized', 'turned away', true]]],
  ['Disk and memory in use', percent, [['disk', 'disk'], ['held', 'held, of its bound'], ['memory', 'memory, of the machine']], 100],
];

const points = []; /* the newest last: {at, value: {...}} */
const plots = [];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/* An empty plot has a scale, too. */
const LEAST = new Map([[number, 1], [bytes, 1024], [duration, 1000]]);

/* Powers of two, whose words are round. */
function bytesTicks(axis) {
  let step = 1;
  while (axis.max > 4 * step) step *= 2;
  axis.ticks = Array.from({ length: Math.floor(axis.max / step) + 1 }, (_, i) => ({ value: i * step }));
}

function plotOptions(format, bound, right) {
  const scale = (position) => ({ position, display: position === 'left' || right, min: 0, max: bound,
    suggestedMax: LEAST.get(format), afterBuildTicks: format === bytes ? bytesTicks : undefined, grid: { drawOnChartArea: position === 'left' },
    ticks: { maxTicksLimit: 5, callback: (n) => format(n).replace(/\.0+(?= |$)/, '') } });
  return {
    animation: false, responsive: true, maintainAspectRatio: false, normalized: true, parsing: false,
    interaction: { mode: 'index', intersect: false },
    elements: { point: { radius: 0, hitRadius: 6 }, line: { borderWidth: 1.6 } },
    plugins: {
      legend: { display: false },
      tooltip: {
        callbacks: {
          title: (items) => items.length ? Math.round(-items[0].parsed.x) + ' s ago' : '',
          label: (item) => item.dataset.label + ': ' + format(item.parsed.y),
        },
      },
    },
    scales: {
      x: { type: 'linear', max: 0, grid: {}, ticks: { maxRotation: 0,
        callback: (x) => x === 0 ? 'now' : x % 60 === 0 ? x / 60 + ' min' : x + ' s' } },
      left: scale('left'), right: scale('right'),
    },
  };
}

function plotMake([title, format, lines, bound]) {
  const figure = element('figure'), caption = element('figcaption'), box = element('div', 'canvas');
  const canvas = element('canvas');
  const labels = lines.map(([, name, right], i) => {
    const span = element('span'), key = element('i', 'k' + (i + 1)), value = element('b', '', '–');
    span.append(key, name + (right ? ' (right) ' : ' '), value);
    return value;
  });
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', title);
  caption.append(element('h3', '', title), ...labels.map((l) => l.parentNode));
  box.append(canvas);
  figure.append(caption, box);
  $('plots').append(figure);
  const chart = new Chart(canvas, {
    type: 'line',
    data: { datasets: lines.map(([, name, right]) => ({ label: name, data: [], yAxisID: right ? 'right' : 'left' })) },
    options: plotOptions(format, bound, lines.some(([, , right]) => right)),
  });
  return { chart, canvas, title, format, lines, labels };
}

function plotsColor() {
  Chart.defaults.color = color('--faint');
  for (const { chart } of plots) {
    chart.data.datasets.forEach((set, i) => { set.borderColor = set.backgroundColor = color('--c' + (i + 1)); });
    for (const axis of ['x', 'left', 'right']) {
      chart.options.scales[axis].grid.color = color('--grid');
      chart.options.scales[axis].ticks.color = color('--faint');
    }
    chart.update('none');
  }
}

function plotsDraw() {
  if (points.length === 0 || document.hidden) return;
  const newest = points[points.length - 1], span = Number($('span').value);
  const from = points.findIndex((p) => newest.at - p.at <= span);
  for (const plot of plots) {
    plot.lines.forEach(([key], i) => {
      plot.chart.data.datasets[i].data = points.slice(from).map((p) => ({ x: p.at - newest.at, y: p.value[key] ?? null }));
      plot.labels[i].textContent = plot.format(newest.value[key]);
    });
    plot.chart.options.scales.x.min = -span;
    plot.chart.options.scales.x.ticks.stepSize = span / 5;
    plot.canvas.setAttribute('aria-label', plot.title + ': ' + plot.lines.map(([key, name]) => name + ' ' + plot.format(newest.value[key])).join(', '));
    plot.chart.update('none');
  }
}

/* --- figures --- */

const FIGURES = [
  ['Messages', (v) => number(v.messages), '/s'], ['Received', (v) => bytes(v.bytes_in), '/s'],
  ['p99', (v) => duration(v.p99), ''], ['Open', (v) => number(v.open), ''],
  ['Commits', (v) => number(v.commits), '/s'], ['NACK', (v) => number(v.nack1 === null ? null : v.nack1 + v.nack2), '/s'],
  ['Disk free', (v, now) => bytes(now.resources.disk_free), ''],
  ['Messages so far', (v, now) => number(now.stats.total.messages), ''],
];
const figures = [];

function figuresMake() {
  for (const [name, , unit] of FIGURES) {
    const box = element('div'), dd = element('dd'), value = element('span', '', '–');
    dd.append(value, ' ', element('small', '', unit));
    box.append(element('dt', '', name), dd);
    $('figures').append(box);
    figures.push(value);
  }
}

function figuresDraw(value, now) {
  FIGURES.forEach(([, text], i) => { figures[i].textContent = text(value, now); });
}

/* --- tables --- */

const tables = new Map(); /* by name: the last event */
const sorts = new Map(); /* by name: {key, down} */
let shown = null, drawn = null;

function cellValue(row, column) {
  return column.kind === 'latency' ? (row.latency_us || {})[column.key] : row[column.key];
}

function cellText(row, column) {
  const value = cellValue(row, column);
  if (value === null || value === undefined) return '';
  switch (column.kind) {
  case 'bytes': return bytes(value);
  case 'seconds': return value.toFixed(1);
  case 'age': return age(value);
  case 'latency': return duration(value);
  case 'active': return value ? 'yes' : 'draining';
  default: return String(value);
  }
}

const isText = (column) => column.kind === 'text' || column.kind === 'active';

function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a ?? '').localeCompare(String(b ?? ''), undefined, { numeric: true });
}

function rowsWanted(table) {
  const sort = sorts.get(table.name), words = $('filter').value.trim().toLowerCase();
  const column = sort && table.columns.find((c) => c.key === sort.key);
  let rows = table.rows;
  if (words)
    rows = rows.filter((row) => table.columns.some((c) => cellText(row, c).toLowerCase().includes(words)));
  if (column)
    rows = [...rows].sort((a, b) => compare(cellValue(a, column), cellValue(b, column)) * (sort.down ? -1 : 1));
  return rows;
}

function sortBy(table, column) {
  const sort = sorts.get(table.name);
  const down = sort && sort.key === column.key ? !sort.down : !isText(column);
  sorts.set(table.name, { key: column.key, down });
  tableDraw();
}

function tableMake(table) {
  const head = element('tr');
  drawn = { name: table.name, body: element('tbody'), heads: [], columns: JSON.stringify(table.columns) };
  for (const column of table.columns) {
    const th = element('th', isText(column) ? 'text' : ''), button = element('button', '', column.title);
    th.scope = 'col';
    button.type = 'button';
    button.dataset.key = column.key;
    button.addEventListener('click', () => sortBy(tables.get(table.name), column));
    th.append(button);
    head.append(th);
    drawn.heads.push(th);
  }
  const thead = element('thead'), whole = element('table');
  thead.append(head);
  whole.append(thead, drawn.body);
  $('tables').replaceChildren(whole);
}

/* Rows and cells that are there get new text, so that a selection and the place stay. */
function rowDraw(tr, row, columns) {
  while (tr.cells.length < columns.length) tr.append(element('td', isText(columns[tr.cells.length]) ? 'text' : ''));
  columns.forEach((column, i) => {
    const text = cellText(row, column);
    if (tr.cells[i].textContent !== text) tr.cells[i].textContent = text;
    if (isText(column)) tr.cells[i].title = text;
  });
}

function tableDraw() {
  const table = tables.get(shown);
  if (!table) return;
  if (!drawn || drawn.name !== table.name || drawn.columns !== JSON.stringify(table.columns)) tableMake(table);
  const rows = rowsWanted(table), sort = sorts.get(table.name), seen = rows.slice(0, ROWS_SHOWN);
  drawn.heads.forEach((th, i) => {
    if (sort && sort.key === table.columns[i].key) th.setAttribute('aria-sort', sort.down ? 'descending' : 'ascending');
    else th.removeAttribute('aria-sort');
    th.firstChild.textContent = table.columns[i].title + (th.hasAttribute('aria-sort') ? (sort.down ? ' ▼' : ' ▲') : '');
  });
  while (drawn.body.rows.length > seen.length) drawn.body.lastChild.remove();
  seen.forEach((row, i) => rowDraw(drawn.body.rows[i] || drawn.body.appendChild(element('tr')), row, table.columns));
  const count = (rows.length > seen.length ? 'the first ' + seen.length + ' of ' : '') + rows.length +
    (rows.length === 1 ? ' row' : ' rows') +
    (table.of > table.rows.length ? ', the latest of ' + table.of : '');
  if ($('count').textContent !== count) $('count').textContent = count; /* or it is read aloud each second */
}

function tabsDraw() {
  for (const name of tables.keys()) {
    if ([...$('tabs').children].some((tab) => tab.dataset.name === name)) continue;
    const tab = element('button', '', name);
    tab.type = 'button';
    tab.dataset.name = name;
    tab.setAttribute('role', 'tab');
    tab.addEventListener('click', () => tabShow(name));
    $('tabs').append(tab);
  }
  for (const tab of $('tabs').children) {
    tab.setAttribute('aria-selected', tab.dataset.name === shown);
    tab.tabIndex = tab.dataset.name === shown ? 0 : -1;
  }
}

function tabShow(name) {
  shown = name;
  $('tables').setAttribute('aria-label', name);
  tabsDraw();
  tableDraw();
}

function tabsKey(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const all = [...$('tabs').children], at = all.findIndex((tab) => tab.dataset.name === shown);
  const next = all[(at + step + all.length) % all.length];
  tabShow(next.dataset.name);
  next.focus();
  event.preventDefault();
}

/* --- the journal --- */

const RECORD = [['time', 'Time'], ['listener', 'Listener'], ['proto', 'Protocol'], ['peer', 'Peer'],
  ['kind', 'Kind'], ['size', 'Size'], ['key', 'Id'], ['file', 'File']];
let records = null;

function recordText(record, key) {
  if (key === 'size') return bytes(record.size);
  if (key === 'time') {
    const time = new Date(record.time);
    return isNaN(time) ? String(record.time ?? '') : time.toLocaleTimeString(undefined, { hourCycle: 'h23', hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 });
  }
  return String((key === 'file' ? record.file ?? record.blob : record[key]) ?? '').slice(0, 300);
}

function journalDraw(list) {
  if (!Array.isArray(list)) {
    $('journal-note').textContent = list.error || '';
    return;
  }
  if (!records) {
    const whole = element('table'), head = element('tr'), thead = element('thead');
    for (const [key, title] of RECORD) {
      const th = element('th', 'plain' + (key === 'size' ? '' : ' text'), title);
      th.scope = 'col';
      head.append(th);
    }
    records = element('tbody');
    thead.append(head);
    whole.append(thead, records);
    $('journal').replaceChildren(whole);
  }
  $('journal-note').textContent = list.length === 0 ? 'none yet' : '';
  while (records.rows.length > list.length) records.lastChild.remove();
  list.forEach((record, i) => {
    const tr = records.rows[i] || records.appendChild(element('tr'));
    while (tr.cells.length < RECORD.length) tr.append(element('td', RECORD[tr.cells.length][0] === 'size' ? '' : 'text'));
    RECORD.forEach(([key], k) => {
      const text = recordText(record, key);
      if (tr.cells[k].textContent !== text) tr.cells[k].textContent = tr.cells[k].title = text;
    });
  });
}

/* --- what comes --- */

let before = null, paused = false, counts = {};

function stateSay(text, good) {
  if ($('state').textContent !== text) $('state').textContent = text;
  $('state').className = 'state' + (good === true ? ' good' : good === false ? ' bad' : '');
}

function whoDraw(stats) {
  const ready = stats.workers.filter((w) => w.state === 'ready' && w.kind !== 'relay').length;
  $('who').textContent = 'version ' + stats.version + ' · process ' + stats.pid + ' · generation ' + stats.generation +
    ' · ' + ready + ' workers ready' + (stats.uptime === null ? '' : ' · up ' + age(stats.uptime));
  if (stats.alive === false) stateSay('not running: its last numbers', false);
  else if (stats.reload.verdict === 'failed') stateSay('running, but the last reload failed', null);
  else stateSay(ready > 0 ? 'running' : 'no worker is ready', ready > 0);
}

function onStats(now) {
  now.sources = counts.sources ?? null;
  now.penalized = counts.penalized ?? null;
  const value = measure(now, before);
  before = now;
  points.push({ at: Date.now() / 1000, value });
  while (points.length > HISTORY) points.shift();
  whoDraw(now.stats);
  if (paused) return;
  figuresDraw(value, now);
  plotsDraw();
}

function onTable(table) {
  tables.set(table.name, table);
  if (table.name === 'sources')
    counts = { sources: table.of, penalized: table.rows.filter((row) => row.penalty > 0).length };
  shown = shown ?? table.name;
  tabsDraw();
  if (!paused && table.name === shown) tableDraw();
}

function onAway(what) {
  stateSay('away', false);
  $('who').textContent = what.error;
  before = null;
  points.push({ at: Date.now() / 1000, value: {} });
}

/* EventSource comes back by itself, but not after an answer that is an error. */
function listen() {
  const source = new EventSource('events');
  const on = (name, f) => source.addEventListener(name, (event) => f(JSON.parse(event.data)));
  on('stats', onStats);
  on('table', onTable);
  on('journal', (list) => { if (!paused) journalDraw(list); });
  on('away', onAway);
  source.addEventListener('error', () => {
    stateSay('no connection; trying again', null);
    before = null;
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

/* --- what somebody does --- */

function themeSet(theme) {
  const dark = theme ? theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  plotsColor();
}

function pauseSet(now) {
  paused = now;
  $('pause').setAttribute('aria-pressed', paused);
  $('pause').textContent = paused ? 'Go on' : 'Pause';
}

function begin() {
  figuresMake();
  for (const plot of PLOTS) plots.push(plotMake(plot));
  $('theme').value = localStorage.getItem('theme') || '';
  themeSet($('theme').value);
  $('theme').addEventListener('change', () => { localStorage.setItem('theme', $('theme').value); themeSet($('theme').value); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => themeSet($('theme').value));
  $('pause').addEventListener('click', () => pauseSet(!paused));
  $('span').addEventListener('change', plotsDraw);
  $('filter').addEventListener('input', tableDraw);
  $('tabs').addEventListener('keydown', tabsKey);
  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
      $('filter').focus();
      event.preventDefault();
    } else if (event.key === 'Escape' && document.activeElement === $('filter')) {
      $('filter').value = '';
      tableDraw();
    }
  });
  listen();
}

begin();
