// The book's network (lesson 11's U-Net) in plain JavaScript: paint into a lung, and see what it says, and what each level holds.
// A stack of maps is {channels, side, values}: torch's (C, H, W), channel after channel, row after row.

// 16-bit floats: one bit of sign, five of exponent, ten of fraction.
const halves = (bytes, n) => Float32Array.from({length: n}, (_, i) => {
  const bits = bytes[i] | bytes[n + i] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;      // Python's `pack`: low bytes first
  const size = exponent ? (1024 + fraction)*2**(exponent - 25) : fraction*2**-24;
  return bits & 32768 ? -size : size;
});

// The weights as layers, in the order in which the network needs them: a convolution's (out, in, k, k), then its bias (out).
const readLayers = (shapes, values) => {
  let at = 0;
  const take = n => values.subarray(at, at += n);
  return shapes.map(([channelsOut, channelsIn, k]) => ({channelsOut, channelsIn, weight: take(channelsOut*channelsIn*k*k), bias: take(channelsOut)}));
};

// One row and one column of zeros on each side: (C, S, S) -> (C, S+2, S+2), so that no pixel is a special case.
const padded = ({channels, side, values}) => {
  const wide = side + 2, out = new Float32Array(channels*wide*wide);
  for (let row = 0; row < channels*side; row++) {
    const channel = Math.floor(row/side), y = row % side;
    out.set(values.subarray(row*side, (row + 1)*side), (channel*wide + y + 1)*wide + 1);
  }
  return out;
};

// 3x3 convolution, then ReLU: (C, S, S) -> (O, S, S). Batch normalization is in the weights already (tools/network_page.py).
// `breathe` lets the page do its own work between two channels.
const convolve = async (x, {channelsOut, channelsIn, weight, bias}, breathe) => {
  const {side} = x, wide = side + 2, p = padded(x), n = side*side, out = new Float32Array(channelsOut*n);
  for (let o = 0; o < channelsOut; o++) {
    out.fill(bias[o], o*n, (o + 1)*n);
    for (let c = 0; c < channelsIn; c++) {
      const [w0, w1, w2, w3, w4, w5, w6, w7, w8] = weight.subarray(9*(o*channelsIn + c));
      for (let y = 0; y < side; y++) {
        let above = (c*wide + y)*wide, here = above + wide, below = here + wide;      // the three rows under the filter
        const end = o*n + (y + 1)*side;
        for (let i = end - side; i < end; i++, above++, here++, below++) {
          out[i] += w0*p[above] + w1*p[above + 1] + w2*p[above + 2]
                  + w3*p[here] + w4*p[here + 1] + w5*p[here + 2]
                  + w6*p[below] + w7*p[below + 1] + w8*p[below + 2];
        }
      }
    }
    for (let i = o*n; i < (o + 1)*n; i++) if (out[i] < 0) out[i] = 0;
    await breathe();
  }
  return {channels: channelsOut, side, values: out};
};

// The largest of each 2x2: (C, S, S) -> (C, S/2, S/2).
const halved = ({channels, side, values}) => {
  const small = side/2, out = new Float32Array(channels*small*small);
  for (let i = 0; i < out.length; i++) {
    const corner = Math.floor(i/small)*2*side + i % small*2;
    out[i] = Math.max(values[corner], values[corner + 1], values[corner + side], values[corner + side + 1]);
  }
  return {channels, side: small, values: out};
};

// Each pixel four times: (C, S, S) -> (C, 2S, 2S).
const doubled = ({channels, side, values}) => {
  const large = 2*side, out = new Float32Array(channels*large*large);
  for (let i = 0; i < out.length; i++) out[i] = values[(Math.floor(i/large) >> 1)*side + (i % large >> 1)];
  return {channels, side: large, values: out};
};

// The skip connection: what came up, beside what was kept. (A, S, S) and (B, S, S) -> (A+B, S, S).
const beside = (a, b) => {
  const values = new Float32Array(a.values.length + b.values.length);
  values.set(a.values);
  values.set(b.values, a.values.length);
  return {channels: a.channels + b.channels, side: a.side, values};
};

// 1x1 convolution without ReLU: (C, S, S) -> (O, S, S), the logits.
const classify = ({channels, side, values}, {channelsOut, weight, bias}) => {
  const n = side*side, out = new Float32Array(channelsOut*n);
  for (let o = 0; o < channelsOut; o++) {
    for (let i = 0; i < n; i++) {
      let sum = bias[o];
      for (let c = 0; c < channels; c++) sum += weight[o*channels + c]*values[c*n + i];
      out[o*n + i] = sum;
    }
  }
  return out;
};

// The whole network: (1, S, S) -> logits (4, S, S), and the maps after each of the seven blocks.
const forward = async (layers, side, input, breathe) => {
  const left = [...layers], next = () => left.shift(), maps = [], kept = [];
  const block = async x => {
    const y = await convolve(await convolve(x, next(), breathe), next(), breathe);
    maps.push(y);
    return y;
  };
  let x = {channels: 1, side, values: input};
  for (let level = 0; level < 3; level++) {
    kept.push(await block(x));                                                          // 16, 32, 64 channels
    x = halved(kept[level]);
  }
  x = await block(x);                                                                   // 128 channels, an eighth of the side
  for (let level = 2; level >= 0; level--) x = await block(beside(doubled(x), kept[level]));   // 64, 32, 16 channels
  return {logits: classify(x, next()), maps};
};

// Of four logits the shares that add up to 1.
const softmax = logits => {
  const powers = logits.map(value => Math.exp(value - Math.max(...logits))), sum = powers.reduce((a, b) => a + b);
  return powers.map(power => power/sum);
};

// Gives the page a turn when 12 ms of work are done: a stroke is drawn while the network computes.
const breather = () => {
  const channel = new MessageChannel();
  let last = performance.now();
  return async () => {
    if (performance.now() - last < 12) return;
    await new Promise(done => { channel.port1.onmessage = done; channel.port2.postMessage(0); });
    last = performance.now();
  };
};

start("network", async (figure, data) => {
  const {side, seeds, examples, classes, colors, tools: kinds} = data, n = side*side;
  const words = classes.map(name => name.replace("_", " ").replace("lungs other", "other lung"));
  const [hus, truths] = await Promise.all([data.hu, data.truth].map(inflate));
  const patients = seeds.map((_, k) => ({                                // the patient, and what is painted: 0, or a kind's number
    hu: Int16Array.from({length: n}, (_, i) => hus[k*n + i] | hus[(seeds.length + k)*n + i] << 8),
    truth: truths.subarray(k*n, (k + 1)*n), painted: new Uint8Array(n)}));
  const layers = inflate(data.weights).then(bytes => readLayers(data.shapes, halves(bytes, bytes.length/2)));

  // The same noise for the same pixel each time, about as a normal distribution: twelve numbers between 0 and 1, less six
  let random = 1;
  const noise = Float32Array.from({length: n}, () => {
    let sum = -6;
    for (let k = 0; k < 12; k++) { random = (Math.imul(random, 1664525) + 1013904223) >>> 0; sum += random/2**32; }
    return sum;
  });

  const usual = {level: -600, width: 1500, noise: 0, turned: "as it is", fed: "window"};
  const now = {...usual, patient: 0, kind: 1, radius: 5, shown: 6};
  let x = side/2, y = side/2, down = false, before = [], answer = null, passes = 0, milliseconds = 0;

  // ---- what the network gets, and what is true
  const mirrored = () => now.turned === "mirrored" || now.turned === "turned by 180\u00b0";
  const upended = () => now.turned === "upside down" || now.turned === "turned by 180\u00b0";
  // The pixel of the patient that lies at this place of the picture
  const source = i => (upended() ? side - 1 - Math.floor(i/side) : Math.floor(i/side))*side + (mirrored() ? side - 1 - i % side : i % side);
  const given = () => {
    const {hu, painted} = patients[now.patient], black = now.level - now.width/2;
    return Float32Array.from({length: n}, (_, i) => {
      const from = source(i), kind = kinds[painted[from]];
      let value = hu[from];
      if (kind) value += kind.share*(data.tissue_hu - value);           // air that is replaced
      value += now.noise*noise[from];
      if (now.fed === "raw") return value;
      if (now.fed === "offset") value += 1024;
      return between(0, (value - black)/now.width, 1)*(now.fed === "bytes" ? 255 : 1);
    });
  };
  const truth = () => {
    const {truth: labels, painted} = patients[now.patient];
    return Uint8Array.from({length: n}, (_, i) => kinds[painted[source(i)]] ? kinds[painted[source(i)]].label : labels[source(i)]);
  };

  // ---- three pictures
  const canvas = attributes => {
    const made = el("canvas", {width: side, height: side, ...attributes}), context = made.getContext("2d");
    const picture = context.createImageData(side, side);
    const paint = (gray, labels) => {
      for (let i = 0; i < n; i++) {
        const shade = 255*between(0, gray[i], 1), share = labels ? [.6, .6, .25, 0][labels[i]] : 0;
        for (let c = 0; c < 3; c++) picture.data[4*i + c] = (1 - share)*shade + (share ? share*colors[labels[i]][c] : 0);
        picture.data[4*i + 3] = 255;
      }
      context.putImageData(picture, 0, 0);
    };
    return {made, paint};
  };
  const paper = canvas({tabindex: 0, class: "covid-play-paper", role: "application",
    "aria-label": "The slice to paint on. Arrow keys move the brush by one pixel, with Shift by eight; Space lowers and lifts it.",
    pointerdown: event => press(event), pointermove: event => move(event), pointerup: () => lift(), pointercancel: () => lift(),
    keydown: event => key(event), blur: () => lift()});
  // A quick stroke is no fling: after one, Chrome would swallow the next tap on a button. Two fingers still zoom.
  paper.made.addEventListener("touchmove", event => { if (event.touches.length === 1) event.preventDefault(); }, {passive: false});
  const said = canvas({role: "img", "aria-label": "What the network says, in colors"});
  const true_ = canvas({role: "img", "aria-label": "The truth, in colors"});
  for (const one of [said, true_]) one.made.style.imageRendering = "pixelated";
  const ring = el("div", {class: "covid-play-cross"}), marks = ["left", "right"].map(where => el("span", {style: where + ": .3rem", "aria-hidden": "true"}));
  const titled = (title, style, ...parts) => el("div", {style: "min-width: 0; " + style}, el("p", {}, title),
    el("div", {class: "covid-play-stage", style: "max-width: none"}, ...parts));
  const swatch = k => el("span", {style: "white-space: nowrap; margin-right: 1rem"},
    el("span", {style: "display: inline-block; width: .9em; height: .9em; margin-right: .35em; background: rgb(" + colors[k] + ")"}), words[k]);
  const legend = el("p", {}, ...[0, 1, 2].map(swatch));
  const counts = el("output", {"aria-live": "polite"}), under = el("output", {"aria-live": "polite"}), time = el("output", {});
  const pictures = el("div", {style: "display: flex; flex-wrap: wrap; gap: .75rem 1.25rem; align-items: flex-start"},
    titled("The network gets (paint here):", "flex: 1 1 14rem", paper.made, ring, ...marks),
    el("div", {style: "flex: 2 1 14rem; min-width: 0; display: grid; grid-template-columns: 1fr 1fr; gap: .75rem"},
      titled("It says:", "", said.made), titled("The truth:", "", true_.made),
      el("div", {style: "grid-column: 1 / -1"}, legend, counts, under, time)));

  // ---- the brush
  const stroke = (kind, radius, points) => {       // every pixel of the lungs whose middle lies within the brush on its way
    const {truth: labels, painted} = patients[now.patient];
    for (let k = 0; k < points.length; k++) {
      const [x0, y0] = points[Math.max(0, k - 1)], [x1, y1] = points[k], dx = x1 - x0, dy = y1 - y0, long = dx*dx + dy*dy;
      for (let i = 0; i < n; i++) {
        const ex = i % side + .5 - x0, ey = Math.floor(i/side) + .5 - y0, t = long ? between(0, (ex*dx + ey*dy)/long, 1) : 0;
        const from = source(i);
        if (labels[from] < 3 && (ex - t*dx)**2 + (ey - t*dy)**2 <= radius*radius) painted[from] = kind;
      }
    }
  };
  const keep = () => { before.push(patients[now.patient].painted.slice()); if (before.length > 50) before.shift(); };
  const press = event => {
    if (event.button !== 0 || !event.isPrimary) return;
    paper.made.setPointerCapture(event.pointerId);
    [x, y] = place(paper.made, event);
    keep();
    down = true;
    stroke(now.kind, now.radius, [[x, y]]);
    changed();
  };
  const go = (toX, toY) => {
    if (down) stroke(now.kind, now.radius, [[x, y], [toX, toY]]);
    [x, y] = [toX, toY];
    if (down) changed(); else point();
  };
  const move = event => { if (event.isPrimary) go(...place(paper.made, event)); };
  const lift = () => { if (down) { down = false; point(); } };
  const key = event => {
    const way = arrow(event, 8);
    if (way) go(between(.5, x + way[0], side - .5), between(.5, y + way[1], side - .5));
    else if (event.key === " ") {
      event.preventDefault();
      down = !down;
      if (down) { keep(); stroke(now.kind, now.radius, [[x, y]]); changed(); } else point();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); back(); }
  };
  const back = () => { const last = before.pop(); if (last) patients[now.patient].painted.set(last); changed(); };
  const clear = () => { keep(); patients[now.patient].painted.fill(0); changed(); };

  // ---- the maps of each level: seven buttons in the shape of a U, then sixteen maps of the level that is chosen
  const gray = (made, level, channel) => {         // a map, its largest value white; without a channel the mean of all maps
    const {channels, side: s, values} = answer.maps[level], size = s*s, shown = new Float32Array(size);
    for (let c = 0; c < channels; c++) if (channel === undefined || c === channel) for (let i = 0; i < size; i++) shown[i] += values[c*size + i];
    const most = shown.reduce((a, b) => Math.max(a, b), 0) || 1;
    made.width = made.height = s;
    const context = made.getContext("2d"), picture = context.createImageData(s, s);
    for (let i = 0; i < size; i++) { picture.data.fill(255*shown[i]/most, 4*i, 4*i + 3); picture.data[4*i + 3] = 255; }
    context.putImageData(picture, 0, 0);
  };
  const pixelated = "display: block; width: 100%; height: auto; aspect-ratio: 1; margin: 0; image-rendering: pixelated; background: #000";
  const shape = level => { const deep = Math.min(level, 6 - level); return [16*2**deep, side/2**deep]; };
  const small = [0, 1, 2, 3, 4, 5, 6].map(() => el("canvas", {width: 16, height: 16, style: pixelated}));
  const levels = small.map((made, level) => {
    const [channels, s] = shape(level), deep = Math.min(level, 6 - level);
    return el("button", {type: "button", style: "padding: .2rem; min-width: 0; line-height: 1.2; overflow: hidden; margin-top: " + .7*deep + "rem",
      "aria-label": ["down", "bottom", "up"][Math.sign(level - 3) + 1] + ": " + channels + " maps of " + s + " \u00d7 " + s,
      click: () => { now.shown = level; report(); }}, made, el("small", {}, channels + "\u00d7", el("br"), s + "\u00b2"));
  });
  const tiles = Array.from({length: 16}, () => el("canvas", {width: 16, height: 16, style: pixelated}));
  const aboutMaps = el("output", {"aria-live": "polite"});
  const maps = el("div", {style: "margin-top: .9rem"}, el("p", {style: "font-weight: 600"}, "What each level holds"),
    el("p", {}, "Down at the left, up at the right; each button shows the mean of its maps. Choose one to see sixteen of its maps."),
    el("div", {style: "display: grid; grid-template-columns: repeat(7, minmax(0, 1fr)); gap: .3rem; align-items: start; max-width: 34rem; margin: .4rem 0"}, ...levels),
    aboutMaps,
    el("div", {role: "img", "aria-label": "Sixteen maps of the level that is chosen", style: "display: grid; gap: .25rem; margin-top: .4rem; "
      + "grid-template-columns: repeat(auto-fill, minmax(max(4.4rem, 11%), 1fr))"}, ...tiles));

  // ---- what is shown
  const point = () => {
    Object.assign(ring.style, {left: 100*x/side + "%", top: 100*y/side + "%", width: 200*now.radius/side + "%", height: 200*now.radius/side + "%"});
    const i = between(0, Math.floor(y), side - 1)*side + between(0, Math.floor(x), side - 1);
    under.textContent = !answer ? "" : "In the middle of the ring (row " + Math.floor(i/side) + ", column " + i % side + "): "
      + softmax([0, 1, 2, 3].map(c => answer.logits[c*n + i])).map((share, c) => words[c] + " " + number(100*share) + "\u00a0%").join(", ")
      + (down ? ". Brush down." : ".");
    undo.disabled = !before.length;
  };
  const sketch = () => {                           // at once, under the brush
    const input = given(), right = truth();
    paper.paint(input);
    true_.paint(input, right);
    marks.forEach((mark, k) => { mark.textContent = (k === 1) === mirrored() ? "R" : "L"; });
    point();
    return {input, truth: right};
  };
  const report = () => {                           // after each pass
    levels.forEach((one, level) => one.setAttribute("aria-pressed", level === now.shown));
    if (!answer) return;
    said.paint(answer.input, answer.labels);
    const size = (labels, k) => labels.reduce((sum, label) => sum + (label === k), 0);
    let both = 0;
    for (let i = 0; i < n; i++) both += answer.labels[i] < 2 && answer.truth[i] < 2;
    const lesions = labels => size(labels, 0) + size(labels, 1), all = lesions(answer.labels) + lesions(answer.truth), dice = all ? 2*both/all : 1;
    counts.textContent = [0, 1, 2].map(k => words[k][0].toUpperCase() + words[k].slice(1) + ": " + size(answer.labels, k) + " px said, " + size(answer.truth, k) + " px true").join(". ")
      + ". Dice of any lesion: " + number(dice, 2) + ".";
    time.textContent = "Computed in your browser in " + number(milliseconds/1000, 2) + " s.";
    small.forEach((made, level) => gray(made, level));
    tiles.forEach((made, channel) => gray(made, now.shown, channel));
    const {channels, side: s, values} = answer.maps[now.shown];
    let silent = 0;
    for (let c = 0; c < channels; c++) silent += !values.subarray(c*s*s, (c + 1)*s*s).some(value => value > 0);
    aboutMaps.textContent = (channels > 16 ? "The first 16 of " + channels : "All 16") + " maps of " + s + " \u00d7 " + s
      + ", each with its largest value in white. " + silent + " of the " + channels + " are 0 everywhere.";
    point();
  };
  // One pass at a time; what changes meanwhile gets the next one.
  let stale = false, running = false;
  const changed = async () => {
    stale = true;
    tell(figure, {...now, ...sketch(), painted: patients[now.patient].painted, passes, settled: false});
    if (running) return;
    running = true;
    const network = await layers, breathe = breather();
    while (stale) {
      stale = false;
      const input = given(), right = truth(), began = performance.now(), {logits, maps} = await forward(network, side, input, breathe);
      milliseconds = performance.now() - began;
      const labels = Uint8Array.from({length: n}, (_, i) => {
        let best = 0;
        for (let c = 1; c < 4; c++) if (logits[c*n + i] > logits[best*n + i]) best = c;
        return best;
      });
      answer = {input, truth: right, logits, labels, maps};
      passes++;
      report();
      if (!stale) tell(figure, {...now, ...answer, painted: patients[now.patient].painted, milliseconds, passes, settled: true});
    }
    running = false;
  };

  // ---- the controls
  const set = name => value => { now[name] = value; changed(); };
  const inRow = one => { one.root.style.cssText = "display: flex; flex-wrap: wrap; gap: 0 .9rem"; return one; };
  const who = inRow(radios("Computed patient, by its seed", seeds.map((seed, k) => [k, String(seed)]), 0, value => { before = []; set("patient")(value); }));
  const brushes = inRow(radios("Paint", kinds.map((kind, k) => [k, kind ? kind.name : "eraser"]).sort(([a], [b]) => (a || 9) - (b || 9)), 1,
    value => { now.kind = value; }));
  const radius = slider("Brush radius", {min: 1, max: 12, step: 1, value: now.radius, unit: "px"}, value => { now.radius = value; point(); });
  const sliders = {
    level: slider("Window level", {min: -1000, max: 400, step: 10, value: usual.level, unit: "HU"}, set("level")),
    width: slider("Window width", {min: 100, max: 3000, step: 50, value: usual.width, unit: "HU"}, set("width")),
    noise: slider("Noise, standard deviation", {min: 0, max: 200, step: 10, value: 0, unit: "HU"}, set("noise"))};
  const choices = {
    turned: inRow(radios("The slice lies", ["as it is", "mirrored", "upside down", "turned by 180\u00b0"].map(name => [name, name]), usual.turned, set("turned"))),
    fed: radios("The network is fed", [["window", "gray from 0 to 1, as in training"], ["raw", "HU themselves, no window: a mistake"],
      ["offset", "HU + 1024, as files store them: a mistake"], ["bytes", "gray from 0 to 255: a mistake"]], usual.fed, set("fed"))};
  const put = wanted => {
    Object.assign(now, usual, wanted);
    for (const [name, one] of Object.entries(sliders)) one.set(now[name]);
    for (const [name, one] of Object.entries(choices)) one.choose(now[name]);
    who.choose(now.patient);
  };
  const undo = button("Undo", back);
  const see = el("p", {"aria-live": "polite", style: "margin: .5rem 0 .8rem; min-height: 3em"}, "Paint into a lung, or choose an example.");
  const tries = examples.map(example => button(example.name, () => {
    before = [];
    put({...example.set, patient: seeds.indexOf(example.seed)});
    patients[now.patient].painted.fill(0);
    for (const [kind, wide, points] of example.strokes) {
      stroke(kind, wide, points);
      [x, y] = [0, 1].map(k => points.reduce((sum, at) => sum + at[k], 0)/points.length);      // the ring: on what was painted
    }
    see.textContent = example.see;
    changed();
  }));
  const again = button("As it was", () => { patients[now.patient].painted.fill(0); before = []; put({}); see.textContent = ""; changed(); });
  report();
  changed();
  return [el("div", {class: "covid-play-row", style: "align-items: center"}, el("p", {style: "font-weight: 600"}, "Try:"), ...tries, again), see, pictures,
    el("div", {class: "covid-play-body", style: "margin-top: .8rem"},
      el("div", {class: "covid-play-tools"}, who.root, brushes.root, radius.root,
        el("div", {class: "covid-play-row"}, undo, button("Erase all", clear)), choices.turned.root),
      el("div", {class: "covid-play-tools"}, choices.fed.root, ...Object.values(sliders).map(one => one.root))), maps];
});
