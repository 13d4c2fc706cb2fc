// A ball on a loss: one rule moves it, step by step. One weight is a valley, two are a ravine, fifty times as steep across as along.
start("ball", async (figure, data) => {
  const {rates, rules, landscapes} = data, still = matchMedia("(prefers-reduced-motion: reduce)");
  const LANDSCAPES = {
    valley: {text: "valley: one weight, loss w\u00b2", start: [1], x: [-2.2, 2.2], loss: w => w[0]**2, slopes: w => [2*w[0]]},
    ravine: {text: "ravine: two weights", start: [-8, 1.2], x: [-9, 4], y: [-1.6, 1.6],
             loss: w => (w[0]**2 + 50*w[1]**2)/2, slopes: w => [w[0], 50*w[1]]}};
  const USES = {SGD: [], Momentum: ["first"], RMSProp: ["second"], Adam: ["first", "second"]};
  let land = landscapes[0], rule = rules[0], lr = data.lr, first = .9, second = .99;      // momentum or beta1; alpha or beta2
  let origin = LANDSCAPES[land].start, path, memory, timer = null;

  // The rules, as in the lesson: `s` is what one weight remembers
  const moved = {
    SGD: (g, s) => lr*g,
    Momentum: (g, s) => { s.v = first*s.v + g; return lr*s.v; },
    RMSProp: (g, s) => { s.v = second*s.v + (1 - second)*g*g; return lr*g/(Math.sqrt(s.v) + 1e-8); },
    Adam: (g, s, t) => {
      s.m = first*s.m + (1 - first)*g;
      s.v = second*s.v + (1 - second)*g*g;
      return lr*s.m/(1 - first**t)/(Math.sqrt(s.v/(1 - second**t)) + 1e-8);
    }};
  const step = () => {
    const w = path[path.length - 1], slopes = LANDSCAPES[land].slopes(w);
    path.push(w.map((value, i) => value - moved[rule](slopes[i], memory[i], path.length)));
  };

  // What happens, in words. `done`: nothing more is to be expected.
  const most = 200, lossOf = w => LANDSCAPES[land].loss(w);
  const verdict = () => {
    const losses = path.map(lossOf), now = losses[losses.length - 1], began = losses[0];
    const spread = (from, to) => Math.max(...losses.slice(from, to));
    if (!(now < 1e3*Math.max(began, 1))) return ["Runs away: the steps get longer and longer.", true];
    if (path.length < 4) return [path.length === 1 ? "Press Step or Run." : "Under way.", false];
    const last = path.slice(-3);
    const bounces = last[0].some((_, i) => (last[1][i] - last[0][i])*(last[2][i] - last[1][i]) < 0);
    if (path.length > 4 && spread(-4) < 1e-4*began) return ["Converges: the loss has fallen to less than a ten-thousandth.", true];
    const recent = path.length > 16 ? spread(-8)/spread(-16, -8) : now/losses[losses.length - 3];
    const how = recent > 1.02 ? "the loss rises" : recent > .98 ? "the loss stays where it is" : "the loss falls";
    return [bounces ? "Bounces from side to side; " + how + "." : "Rolls without turning; " + how + ".", path.length > most];
  };

  // The picture: 400 by 240, no matter how wide the page
  const W = 400, H = 240, made = (name, attributes) => [name, {fill: "none", "vector-effect": "non-scaling-stroke", ...attributes}];
  const [svg, ...shapes] = drawing(W, H, [...Array.from({length: 7}, () => made("path", {stroke: "currentColor", opacity: .35, "stroke-width": 1})),
    made("path", {stroke: "#0072B2", "stroke-width": 1.5}), made("path", {fill: "#0072B2", stroke: "none"}),
    made("circle", {r: 8, fill: "#D55E00", stroke: "currentColor", "stroke-width": 1})]);
  const ball = shapes[9];
  svg.setAttribute("preserveAspectRatio", "xMidYMid meet");
  svg.setAttribute("style", "display: block; width: 100%; height: auto");
  const X = w => { const [a, b] = LANDSCAPES[land].x; return W*(w - a)/(b - a); };
  const Y = w => {
    const {x, y} = LANDSCAPES[land];
    return y ? H*(y[1] - w[1])/(y[1] - y[0]) : H - 12 - (H - 24)*lossOf(w)/lossOf([x[1]]);
  };
  const dot = ([x, y]) => "M" + (x - 2.5).toFixed(1) + " " + y.toFixed(1) + "a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0";
  const at = w => [between(-50, X(w[0]), W + 50), between(-50, Y(w), H + 50)];
  const ground = () => {
    const line = (k, d) => shapes[k].setAttribute("d", d);
    for (let k = 0; k < 7; k++) line(k, "");
    if (land === "valley") {
      line(0, Array.from({length: 89}, (_, i) => (i ? "L" : "M") + X(-2.2 + i/20).toFixed(1) + " " + Y([-2.2 + i/20]).toFixed(1)).join(""));
      line(1, "M" + X(0) + " 0V" + H);
    } else for (let k = 0; k < 7; k++) {
      const a = 1.5*(k + .6), rx = X(a) - X(0), ry = rx ? Y([0, 0]) - Y([0, a/Math.sqrt(50)]) : 0;
      line(k, "M" + (X(0) - rx) + " " + Y([0, 0]) + "a" + rx + " " + ry + " 0 1 0 " + 2*rx + " 0a" + rx + " " + ry + " 0 1 0 " + -2*rx + " 0");
    }
  };

  // The loss by steps, in powers of ten from 10^-6 to 10^4
  const [chart, ...lines] = drawing(W, 100, [...Array.from({length: 11}, (_, k) => made("path", {d: "M0 " + 10*k + "H" + W, stroke: "currentColor",
    opacity: k === 4 ? .7 : .2, "stroke-width": 1})), made("path", {stroke: "#0072B2", "stroke-width": 2})]);
  chart.setAttribute("style", "display: block; width: 100%; height: 6rem");
  const height = loss => between(0, 40 - 10*Math.log10(Math.max(loss, 1e-9)), 100);
  const curve = () => {
    const across = W/Math.max(40, path.length - 1);
    lines[11].setAttribute("d", path.map((w, i) => (i ? "L" : "M") + (across*i).toFixed(1) + " " + height(lossOf(w)).toFixed(1)).join(""));
  };

  // Sliders whose values are decimals, or stops of a list
  const decimal = (text, options, show, changed) => {
    const said = el("span", {"aria-hidden": "true"});
    const input = el("input", {type: "range", ...options, "aria-label": text, input: () => { say(); changed(Number(input.value)); again(); }});
    const say = () => { said.textContent = show(Number(input.value)); input.setAttribute("aria-valuetext", said.textContent); };
    const name = el("span", {}, text);
    say();
    return {root: el("label", {class: "covid-play-slider"}, name, said, input), input, name};
  };
  const short = value => String(Number(value.toPrecision(3))).replace("-", "\u2212");
  const rate = decimal("Learning rate", {min: 0, max: rates.length - 1, step: 1, value: rates.indexOf(lr)}, k => short(rates[k]), k => { lr = rates[k]; });
  const kept = decimal("Momentum, or \u03b2\u2081", {min: 0, max: .99, step: .01, value: first}, v => number(v, 2), v => { first = v; });
  const squares = decimal("\u03b1, or \u03b2\u2082: memory of squares", {min: 0, max: .999, step: .001, value: second}, v => number(v, 3), v => { second = v; });

  const canvas = el("div", {tabindex: 0, role: "application", style: "touch-action: pan-y pinch-zoom; cursor: crosshair",
    "aria-label": "The ball. Arrow keys move the place where it starts.",
    pointerdown: event => { dragging = true; canvas.setPointerCapture(event.pointerId); put(event); },
    pointermove: event => { if (dragging) put(event); }, pointerup: () => { dragging = false; }, pointercancel: () => { dragging = false; },
    keydown: event => {
      const way = arrow(event, 5), {x, y} = LANDSCAPES[land];
      if (!way) return;
      place_at([origin[0] + way[0]*(x[1] - x[0])/50, y ? origin[1] - way[1]*(y[1] - y[0])/50 : 0]);
    }}, svg);
  let dragging = false;
  const place_at = w => {
    const {x, y} = LANDSCAPES[land];
    origin = [between(x[0], w[0], x[1])];
    if (y) origin.push(between(y[0], w[1], y[1]));
    again();
  };
  const put = event => {
    const box = canvas.getBoundingClientRect(), {x, y} = LANDSCAPES[land];
    place_at([x[0] + (x[1] - x[0])*(event.clientX - box.left)/box.width, y ? y[1] - (y[1] - y[0])*(event.clientY - box.top)/box.height : 0]);
  };

  // The controls
  const said = el("output", {class: "covid-play-score", "aria-live": "polite", style: "font-size: 1.15em; min-height: 3em"});
  const numbers = el("p", {style: "font-variant-numeric: tabular-nums; min-height: 4.5em"});
  const one = button("Step", () => { halt(); step(); draw(); }, {class: "covid-play-main"});
  const run = button("Run", () => timer ? halt() : go()), back = button("Start again", () => again());
  const halt = () => { clearInterval(timer); timer = null; run.textContent = "Run"; };
  const tick = () => { step(); if (verdict()[1] || path.length > most) halt(); draw(); };
  const go = () => {
    if (verdict()[1]) again();
    if (still.matches) { do step(); while (!verdict()[1] && path.length <= most); draw(); return; }
    run.textContent = "Pause";
    timer = setInterval(tick, 90);
  };
  const again = () => {
    halt();
    path = [origin];
    memory = origin.map(() => ({m: 0, v: 0}));
    draw();
  };
  const choose_rule = radios("Rule", rules.map(name => [name, name]), rule, value => { rule = value; again(); });
  const choose_land = radios("Loss", landscapes.map(name => [name, LANDSCAPES[name].text]), land, value => {
    land = value;
    origin = LANDSCAPES[land].start;
    ground();
    again();
  });

  const draw = () => {
    const w = path[path.length - 1], t = path.length - 1, [words] = verdict(), list = values => values.map(short).join(", ");
    shapes[7].setAttribute("d", path.map((p, i) => (i ? "L" : "M") + at(p).map(v => v.toFixed(1)).join(" ")).join(""));
    shapes[8].setAttribute("d", path.map(p => dot(at(p))).join(""));
    curve();
    ball.setAttribute("cx", at(w)[0]);
    ball.setAttribute("cy", at(w)[1]);
    said.textContent = (t ? "Step " + t + ". " : "") + words;
    const before = path[t - 1], g = before && LANDSCAPES[land].slopes(before), way = before && w.map((value, i) => before[i] - value);
    const sign = before && way[0] < 0 ? " + " : " \u2212 ";
    numbers.textContent = (before ? "Gradient " + list(g) + ". Step " + list(way) + ". " : "") + (w.length === 1 && before
      ? "w = " + short(before[0]) + sign + short(Math.abs(way[0])) + " = " + short(w[0]) : "Weight" + (w.length > 1 ? "s " : " ") + list(w))
      + ". Loss " + short(lossOf(w)) + ".";
    for (const [part, what] of [[kept, "first"], [squares, "second"]]) {
      part.input.disabled = !USES[rule].includes(what);
      part.root.style.opacity = part.input.disabled ? .5 : 1;
    }
    tell(figure, {rule, land, lr, first, second, path, verdict: words});
  };

  ground();
  again();
  const tools = [said, el("div", {class: "covid-play-row"}, one, run, back), rate.root];
  if (rules.length > 1) tools.push(kept.root, squares.root, choose_rule.root);
  if (landscapes.length > 1) tools.push(choose_land.root);
  const pictures = [canvas];
  if (landscapes.length > 1) pictures.push(el("p", {style: "margin-top: .75rem"}, "Loss by steps; from line to line a factor of ten, the dark line is 1."), chart);
  return [el("div", {class: "covid-play-body"}, el("div", {class: "covid-play-stage", style: "background: none; line-height: inherit"}, ...pictures),
    el("div", {class: "covid-play-tools"}, ...tools, numbers))];
});
