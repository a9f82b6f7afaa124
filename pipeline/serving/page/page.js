'use strict';
// All text goes in as text (textContent), never as markup.

const by = id => document.getElementById(id);
const TOP = 12, MOST = 96, SHOWN = 3, SIDE = 1024;

let about = null;          // GET version
let key = sessionStorage.getItem('semctl-key') || '';
let talk = fresh();
let asking = null;         // AbortController of the request that is under way

function fresh() {
  return {
    turns: [], photos: {}, corrections: new Map(), answer: null, top: TOP,
    hand: new Map(),       // slot -> values of its correction that were set by hand, as tokens() writes them
    attached: [],          // {name, url, alt} of the message that is being written
  };
}

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'class') made.className = value;
    else if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name.includes('-') || name === 'role') made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

const spoken = text => make('span', {class: 'hidden'}, text);
const named = text => make('bdi', {}, text);

// --- asking the server ---

async function ask(path, body, signal) {
  for (;;) {
    const headers = key ? {Authorization: `Bearer ${key}`} : {};
    if (body) headers['Content-Type'] = 'application/json';
    let response;
    try {
      response = await fetch(path, {method: body ? 'POST' : 'GET', headers, signal, body: body && JSON.stringify(body)});
    } catch (problem) {
      if (problem.name === 'AbortError') throw problem;
      throw new Error('The server does not answer. Is it still running?');
    }
    if (response.status === 401) { await response.text(); await askForKey(); continue; }
    if (response.ok) return response;
    let said = null;
    try { said = (await response.json()).error; } catch { /* no JSON */ }
    throw new Error(said ? [said.what, said.fix].filter(Boolean).join('; ') : `The server answered ${response.status}.`);
  }
}

let waiting = null;
function askForKey() {
  waiting ??= new Promise(resolve => {
    const dialog = by('ask-key');
    by('key-form').onsubmit = event => {
      event.preventDefault();
      key = by('key').value.trim();
      sessionStorage.setItem('semctl-key', key);
      by('key').value = '';
      dialog.close();
      waiting = null;
      resolve();
    };
    dialog.oncancel = event => event.preventDefault();
    dialog.showModal();
  });
  return waiting;
}

// an <img> cannot send a key, so that with one its content is fetched
function picture(id, alt, side) {
  const image = make('img', {alt, loading: 'lazy', decoding: 'async'});
  const path = `images/${encodeURIComponent(id)}?side=${side}`;
  const gone = () => image.replaceWith(make('span', {}, 'no image'));
  image.addEventListener('error', gone);
  if (!key) image.src = path;
  else ask(path).then(response => response.blob()).then(content => {
    image.addEventListener('load', () => URL.revokeObjectURL(image.src), {once: true});
    image.src = URL.createObjectURL(content);
  }).catch(gone);
  return image;
}

function tell(problem) {
  const line = by('problem');
  line.hidden = !problem;
  line.textContent = problem || '';
}

// --- the conversation ---

function wire() {
  const turns = talk.turns.map(({speaker, text, images}) => ({speaker, text, images: images.map(each => each.name)}));
  const images = {};
  for (const turn of talk.turns) for (const each of turn.images) if (talk.photos[each.name]) images[each.name] = talk.photos[each.name];
  return {turns, images, corrections: [...talk.corrections].map(([slot, {like, dislike}]) => ({slot, like, dislike}))};
}

async function rank(focusOn) {
  asking?.abort();
  const mine = asking = new AbortController();
  by('cards').setAttribute('aria-busy', 'true');
  by('status').textContent = 'Ranking…';
  try {
    const asked = {...wire(), top: talk.top, explain: true};
    const answer = await (await ask('recommend', asked, mine.signal)).json();
    if (mine !== asking) return;
    if (outdated(answer)) { await rank(focusOn); return; }
    talk.answer = answer;
    tell('');
  } catch (problem) {
    if (problem.name === 'AbortError') return;
    by('status').textContent = '';
    tell(problem.message);
    throw problem;
  } finally {
    if (mine === asking) by('cards').setAttribute('aria-busy', 'false');
  }
  show(focusOn);
}

// A correction holds until the user says something that makes the model read the slot anew.
function outdated(answer) {
  let dropped = false;
  for (const item of answer.state || []) {
    const mine = talk.corrections.get(item.slot);
    if (!mine || !item.read) continue;
    const read = spelled(item.read);
    if (mine.read === null) mine.read = read;
    else if (mine.read !== read) { talk.corrections.delete(item.slot); talk.hand.delete(item.slot); dropped = true; }
  }
  return dropped;
}

const spelled = values => values.map(each => `${each.polarity} ${each.value}`).sort().join('\n');

async function send() {
  const text = by('message').value.trim();
  if (!text && !talk.attached.length) { by('message').focus(); return; }
  const before = talk.turns.length;
  const shown = (talk.answer?.products || []).filter(each => each.images.length).slice(0, SHOWN);
  if (shown.length) {
    const images = shown.map(each => ({name: each.images[0], alt: each.name}));
    talk.turns.push({speaker: 'system', text: 'Here are some products.', images});
  }
  talk.turns.push({speaker: 'user', text, images: talk.attached});
  const written = talk.attached;
  talk.attached = [];
  talk.top = TOP;
  by('message').value = '';
  showLog();
  showAttached();
  by('composer').querySelector('[type=submit]').disabled = true;
  try {
    await rank();
  } catch {
    talk.turns.length = before;  // not said: it is in the box again
    talk.attached = written;
    by('message').value = text;
    showLog();
    showAttached();
  } finally {
    by('composer').querySelector('[type=submit]').disabled = false;
    by('message').focus();
  }
}

async function attach(files) {
  for (const file of files) {
    if (talk.attached.length >= 4) { tell('At most four images in a message.'); break; }
    try {
      const content = await smaller(file);
      const name = `photo-${Object.keys(talk.photos).length + 1}`;
      talk.photos[name] = await base64(content);
      talk.attached.push({name, alt: file.name || 'an image', url: URL.createObjectURL(content)});
    } catch {
      tell(`The image ${file.name || ''} cannot be read.`);
    }
  }
  showAttached();
}

// what the model looks at is small: large photos are not worth sending
async function smaller(file) {
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch { return file; }  // the server says what is wrong with it
  const scale = SIDE / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1 && file.size < 2 ** 20) return file;
  const canvas = make('canvas', {width: Math.max(1, Math.round(bitmap.width * Math.min(1, scale))),
    height: Math.max(1, Math.round(bitmap.height * Math.min(1, scale)))});
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise(resolve => canvas.toBlob(blob => resolve(blob || file), 'image/jpeg', 0.9));
}

function base64(content) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.onerror = reject;
    reader.readAsDataURL(content);
  });
}

// --- correcting beliefs ---

function values(slot) {
  const item = (talk.answer?.state || []).find(each => each.slot === slot);
  const found = {like: [], dislike: []};
  for (const each of item?.values || []) found[each.polarity].push(each.value);
  return found;
}

const tokens = ({like, dislike}) => [...like.map(each => `like ${each}`), ...dislike.map(each => `dislike ${each}`)];

function correct(slot, change, focusOn) {
  const said = values(slot), was = tokens(said), mine = talk.hand.get(slot) || new Set();
  change(said);
  const hand = new Set(tokens(said).filter(each => mine.has(each) || !was.includes(each)));
  const before = talk.corrections.get(slot);
  const item = (talk.answer?.state || []).find(each => each.slot === slot);
  const read = before ? before.read : item ? spelled(item.read || item.values) : '';
  talk.corrections.set(slot, {...said, read});
  talk.hand.set(slot, hand);
  const asRead = ['like', 'dislike'].flatMap(side => said[side].filter(each => !hand.has(`${side} ${each}`)));
  again(() => {
    talk.hand.set(slot, mine);
    if (before) talk.corrections.set(slot, before); else talk.corrections.delete(slot);
  }, focusOn, keeping({correction: {slot, ...said}, as_read: asRead}));
}

function again(undo, focusOn, keep) {
  rank(focusOn).then(keep, undo);
}

// What keeps a correction on the server, where that was asked for, once it is known to be one; in order, one by one.
let kept = Promise.resolve();
function keeping(made) {
  const turns = wire().turns, photos = talk.turns.some(turn => turn.images.some(each => talk.photos[each.name]));
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map(each => each.toString(16).padStart(2, '0')).join('');
  return () => {
    if (!about.keeps_corrections || photos) return;
    kept = kept.then(() => ask('corrections', {turns, key, ...made})).then(answer => answer.text())
      .catch(problem => tell(`Not kept: ${problem.message}`));
  };
}

const without = (list, value) => list.filter(each => each !== value);

function chip(item, each) {
  const title = item.title, avoid = each.polarity === 'dislike';
  const sure = item.corrected ? 'your correction' : `${Math.round(100 * each.probability)} %`;
  const what = make('span', {class: 'what'}, named(title), avoid ? ': not ' : ': ', named(each.value), ' ', make('small', {}, sure));
  const label = `${title}: ${avoid ? 'not ' : ''}${each.value}`;
  const buttons = !about.takes_corrections ? [] : [
    make('button', {type: 'button', title: avoid ? 'I want this' : 'I do not want this', 'data-focus': `turn ${item.slot} ${each.value}`,
      'aria-label': `${label}. ${avoid ? 'I want this' : 'I do not want this'}`,
      onclick: () => correct(item.slot, said => {
        const [from, to] = avoid ? ['dislike', 'like'] : ['like', 'dislike'];
        said[from] = without(said[from], each.value);
        said[to] = [...said[to], each.value];
      }, `turn ${item.slot} ${each.value}`)}, '⇄'),
    make('button', {type: 'button', title: 'Forget this', 'aria-label': `${label}. Forget this`,
      onclick: () => correct(item.slot, said => { said[each.polarity] = without(said[each.polarity], each.value); }, `undo ${item.slot}`)}, '✕'),
  ];
  return make('li', {class: `chip ${each.polarity}${item.corrected ? ' mine' : ''}`}, what, ...buttons);
}

function undoChip(item) {
  const nothing = !item.values.length;
  const what = make('span', {class: 'what'}, named(item.title), nothing ? ': nothing ' : ': ',
    make('small', {}, nothing ? 'your correction' : 'back to what was read'));
  return make('li', {class: nothing ? 'chip nothing mine' : 'chip nothing'}, what,
    make('button', {type: 'button', title: 'Undo your correction', 'data-focus': `undo ${item.slot}`,
      'aria-label': `${item.title}. Undo your correction`,
      onclick: () => {
        const before = talk.corrections.get(item.slot), hand = talk.hand.get(item.slot);
        talk.corrections.delete(item.slot);
        talk.hand.delete(item.slot);
        again(() => { talk.corrections.set(item.slot, before); talk.hand.set(item.slot, hand); }, 'belief-title',
          keeping({correction: {slot: item.slot}, undone: true}));
      }}, '↶'));
}

// --- showing ---

function show(focusOn) {
  const focused = focusOn || document.activeElement?.dataset?.focus;
  showLog();
  showChips();
  showCards();
  if (focusOn) {
    const found = [...document.querySelectorAll('[data-focus]')].find(each => each.dataset.focus === focused);
    (found || by(focused) || by('belief-title')).focus();
  }
}

function showLog() {
  const log = by('log');
  // turns are only ever added or taken back: what is there stays, so that a screen reader tells the new ones only
  while (log.children.length > talk.turns.length) log.lastChild.remove();
  for (const turn of talk.turns.slice(log.children.length)) {
    const images = turn.images.map(each => each.url ? make('img', {src: each.url, alt: each.alt}) : picture(each.name, each.alt, 128));
    log.append(make('li', {class: turn.speaker},
      make('span', {class: 'who'}, turn.speaker === 'user' ? 'You' : 'Shown to you'),
      turn.text ? make('span', {class: 'text', dir: 'auto'}, turn.text) : '',
      images.length ? make('span', {class: 'strip'}, ...images) : ''));
  }
  log.scrollTop = log.scrollHeight;
}

function showAttached() {
  by('attached').replaceChildren(...talk.attached.map(each => make('li', {},
    each.url ? make('img', {src: each.url, alt: each.alt}) : picture(each.name, each.alt, 128),
    make('button', {type: 'button', title: 'Take it out', 'aria-label': `Take ${each.alt} out`, onclick: () => {
      talk.attached = without(talk.attached, each);
      showAttached();
      by('message').focus();
    }}, '✕'))));
}

function showChips() {
  const state = talk.answer?.state;
  const chips = (state || []).flatMap(item => [
    ...item.values.map(each => chip(item, each)), ...(item.corrected ? [undoChip(item)] : []),
  ]);
  by('chips').replaceChildren(...chips);
  by('belief-note').textContent =
    !talk.answer ? 'Say something first. A belief that is wrong can be corrected by a click.'
    : !about.reads_states ? 'This kind of model has no beliefs that could be shown.'
    : !chips.length ? 'Nothing yet.'
    : about.takes_corrections ? '⇄ turns a wish around, ✕ forgets it; the products follow.' : 'This kind of model takes no corrections.';
  by('more').hidden = !talk.answer || !about.takes_corrections;
}

function showCards() {
  const products = talk.answer?.products || [];
  by('cards').replaceChildren(...products.map(card));
  by('status').textContent = products.length
    ? `The ${products.length} that fit best of ${about.products.toLocaleString('en')}.` : '';
  by('further').hidden = !products.length || products.length < talk.top || talk.top >= MOST;
}

function card(product) {
  const name = product.name || product.product_id;
  const image = make('div', {class: 'image'}, product.images.length ? picture(product.images[0], '', 400) : make('span', {}, 'no image'));
  const facts = Object.entries(product.further)
    .filter(([slot]) => slot !== 'price' || product.price === null)
    .map(([slot, found]) => `${slot.replaceAll('_', ' ')} ${found.join('/')}`).join(', ');
  const body = make('div', {class: 'body'}, make('h3', {dir: 'auto'}, name));
  if (product.price !== null) body.append(make('p', {class: 'price'}, price(product)));
  if (facts) body.append(make('p', {class: 'facts', dir: 'auto', title: facts.length > 160 ? facts : ''}, facts.length > 160 ? `${facts.slice(0, 160)}…` : facts));
  const end = make('div', {class: 'end'});
  if (product.why) end.append(why(product.why, name));
  if (product.images.length) {
    end.append(make('button', {type: 'button', onclick: () => {
      if (talk.attached.length >= 4 || talk.attached.some(each => each.name === product.images[0])) { by('message').focus(); return; }
      talk.attached.push({name: product.images[0], alt: name});
      showAttached();
      by('message').focus();
    }}, 'Show it in my message', spoken(`: ${name}`)));
  }
  body.append(end);
  return make('li', {class: 'card'}, image, body);
}

function price(product) {
  try {
    return new Intl.NumberFormat(undefined, {style: 'currency', currency: product.currency}).format(product.price);
  } catch {
    return `${product.price} ${product.currency || ''}`.trim();
  }
}

function why(reasons, name) {
  const largest = Math.max(...reasons.map(each => Math.abs(each.weight)), 1e-9);
  const lines = reasons.map(each => {
    const bar = make('i');
    bar.style.width = `${Math.round(100 * Math.abs(each.weight) / largest)}%`;
    return make('li', {class: each.weight < 0 ? 'against' : ''},
      make('span', {}, named(each.text), each.weight === null ? '' : spoken(each.weight < 0 ? ', speaks against it' : ', speaks for it')),
      each.weight === null ? '' : make('span', {class: 'bar', title: `${each.weight >= 0 ? '+' : '−'}${Math.abs(each.weight).toFixed(2)}`}, bar));
  });
  return make('details', {}, make('summary', {}, 'Why this?', spoken(` ${name}`)),
    lines.length ? make('ul', {class: 'why'}, ...lines) : make('p', {class: 'soft'}, 'Nothing stands out.'));
}

// --- beginning ---

function begin() {
  asking?.abort();
  asking = null;
  talk = fresh();
  by('message').value = '';
  tell('');
  showLog();
  showAttached();
  showChips();
  showCards();
  by('cards').setAttribute('aria-busy', 'false');
  by('message').focus();
}

by('composer').addEventListener('submit', event => { event.preventDefault(); send(); });
by('message').addEventListener('keydown', event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!by('composer').querySelector('[type=submit]').disabled) send();
  }
});
by('message').addEventListener('paste', event => {
  const files = [...event.clipboardData.files].filter(each => each.type.startsWith('image/'));
  if (files.length) { event.preventDefault(); attach(files); }
});
by('files').addEventListener('change', () => { attach([...by('files').files]).then(() => { by('files').value = ''; }); });
by('anew').addEventListener('click', begin);
by('further').addEventListener('click', () => { talk.top = Math.min(2 * talk.top, MOST); rank('further').catch(() => {}); });
by('slot').addEventListener('change', offer);
by('add').addEventListener('submit', event => {
  event.preventDefault();
  const value = by('value').value.trim(), polarity = by('polarity').value;
  if (!value) { by('value').focus(); return; }
  correct(by('slot').value, said => {
    said.like = without(said.like, value);
    said.dislike = without(said.dislike, value);
    said[polarity] = [...said[polarity], value];
  }, 'value');
  by('value').value = '';
});

function offer() {
  const slot = about.slots.find(each => each.slot === by('slot').value);
  by('values').replaceChildren(...(slot?.values || []).map(each => make('option', {value: each})));
}

ask('version').then(response => response.json()).then(found => {
  about = found;
  by('about').textContent = `${found.run}, ${found.products.toLocaleString('en')} products`;
  by('kept-note').hidden = !found.keeps_corrections;
  by('slot').replaceChildren(...found.slots.map(each => make('option', {value: each.slot}, each.title)));
  offer();
  showChips();
}).catch(problem => { by('about').textContent = ''; tell(problem.message); });
