// What the playable figures share. Python puts this file before one figure's own, inside one function: nothing is global.

// An element with attributes; a function among them listens to the event of that name.
const el = (name, attributes, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
};

// SVG, for what takes the page's color: [name, attributes] pairs inside one picture that fills its place.
const drawing = (width, height, parts) => {
  const make = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const root = make("svg", {viewBox: "0 0 " + width + " " + height, preserveAspectRatio: "none", "aria-hidden": "true"});
  const made = parts.map(part => make(...part));
  root.append(...made);
  return [root, ...made];
};

// The bytes that Python's `pack` deflated.
const inflate = async text => {
  const packed = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

const number = (value, digits) => value.toFixed(digits || 0).replace("-", "\u2212");
const button = (text, click, attributes) => el("button", {type: "button", click, ...attributes}, text);

// One of several: `options` are [value, text] pairs; `changed` hears the value. `choose` sets it.
const radios = (legend, options, start, changed) => {
  const name = "covid-play-" + Math.random().toString(36).slice(2);   // radio buttons of one name are one group on the page
  const inputs = options.map(([value]) => el("input", {type: "radio", name, value, checked: value === start, change: () => changed(value)}));
  const root = el("fieldset", {}, el("legend", {}, legend), ...options.map(([, text], i) => el("label", {}, inputs[i], el("span", {}, text))));
  return {root, choose: value => options.forEach(([own], i) => { inputs[i].checked = own === value; })};
};

// A labeled slider that says its value. (Not in an <output>: a label would take that for the control it names.)
const slider = (text, {min, max, step, value, unit}, changed) => {
  const said = el("span", {"aria-hidden": "true"});
  const input = el("input", {type: "range", min, max, step, value, input: () => { say(); changed(Number(input.value)); }});
  const say = () => {
    said.textContent = number(Number(input.value)) + " " + unit;
    input.setAttribute("aria-valuetext", said.textContent);
  };
  say();
  return {root: el("label", {class: "covid-play-slider"}, el("span", {}, text), said, input),
          set: to => { input.value = to; say(); return Number(input.value); }};
};

// Where on a canvas an event lies, in the picture's pixels.
const place = (canvas, event) => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left)/box.width*canvas.width, (event.clientY - box.top)/box.height*canvas.height];
};

// What an arrow key moves; null for any other key.
const arrow = (event, far) => {
  const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!way || event.ctrlKey || event.metaKey || event.altKey) return null;
  event.preventDefault();
  return way.map(step => step*(event.shiftKey ? far : 1));
};
const between = (low, value, high) => Math.min(high, Math.max(low, value));

// Tells the page what a figure shows now: document.addEventListener("covid-play", event => event.detail).
const tell = (figure, detail) => figure.dispatchEvent(new CustomEvent("covid-play", {bubbles: true, detail}));

// Builds every figure of a name that is not built yet; its still picture stays where that fails.
const start = (name, build) => {
  for (const figure of document.querySelectorAll('figure[data-covid-play="' + name + '"]:not([data-state])')) {
    const data = figure.querySelector('script[type="application/json"]'), still = figure.querySelector("img");
    if (!data || !still) continue;
    figure.dataset.state = "starting";
    build(figure, JSON.parse(data.textContent)).then(parts => {
      still.replaceWith(...parts);
      figure.dataset.state = "ready";
    }).catch(error => {
      figure.dataset.state = "still";
      still.after(el("p", {}, "This browser can't play the figure (" + error.message + "). The still picture stands in."));
    });
  }
};
