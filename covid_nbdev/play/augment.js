// A slice and its mask, turned, mirrored and put on another scale of HU: what moves with what, and what fills the corners.
start("augment", async (figure, data) => {
  const {rows, columns, colors} = data, n = rows*columns;
  const bytes = await inflate(data.hu), labels = await inflate(data.labels), hu = new Int16Array(n);
  for (let i = 0; i < n; i++) hu[i] = bytes[i] | bytes[n + i] << 8;
  const as = {angle: 0, mirror: false, gain: 100, offset: 0, moves: true, air: true}, now = {...as};

  // For each new pixel the nearest old one, as `naive_turn` in the lesson; -1 where there is none. Turn first, then mirror.
  const sources = () => {
    const c = Math.cos(now.angle*Math.PI/180), s = Math.sin(now.angle*Math.PI/180), middle = [(columns - 1)/2, (rows - 1)/2];
    return Int32Array.from({length: n}, (_, i) => {
      const place = i % columns, x = (now.mirror ? columns - 1 - place : place) - middle[0], y = Math.floor(i/columns) - middle[1];
      const oldX = Math.round(c*x - s*y + middle[0]), oldY = Math.round(s*x + c*y + middle[1]);
      return oldX < 0 || oldX >= columns || oldY < 0 || oldY >= rows ? -1 : oldY*columns + oldX;
    });
  };

  // Both pictures on one canvas: the slice in the lung window, and the mask's colors over it
  const gap = 4, width = 2*columns + gap;
  const canvas = el("canvas", {width, height: rows, role: "img", "aria-label": "Left the slice, right its mask in colors over it."});
  const context = canvas.getContext("2d"), picture = context.createImageData(width, rows);
  const paint = (x, y, [r, g, b]) => picture.data.set([r, g, b, 255], 4*(y*width + x));
  const stage = el("div", {class: "covid-play-stage", style: "flex-basis: 24rem"}, canvas);

  const set = name => value => { now[name] = value; draw(); };
  const sliders = {
    angle: slider("Turn, degrees to the left", {min: -180, max: 180, step: 5, value: 0, unit: "\u00b0"}, set("angle")),
    gain: slider("Gain", {min: 85, max: 115, step: 1, value: 100, unit: "%"}, set("gain")),
    offset: slider("Offset", {min: -75, max: 75, step: 5, value: 0, unit: "HU"}, set("offset"))};
  const mirror = radios("Mirror", [[false, "no"], [true, "yes"]], false, set("mirror"));
  const moves = radios("The mask", [[true, "moves along"], [false, "stays: two calls, a bug"]], true, set("moves"));
  const air = radios("The corners get", [[true, "air and background"], [false, "0 HU and class 0: the default, a bug"]], true, set("air"));
  const show = wanted => {
    Object.assign(now, wanted);
    for (const [name, one] of Object.entries(sliders)) one.set(now[name]);
    for (const [name, one] of Object.entries({mirror, moves, air})) one.choose(now[name]);
    draw();
  };
  const any = (low, high, step) => low + step*Math.floor(Math.random()*((high - low)/step + 1));
  const another = button("Another draw", () => show({angle: any(-180, 180, 5), mirror: Math.random() < .5, gain: any(85, 115, 1),
                                                     offset: any(-75, 75, 5)}), {class: "covid-play-main"});
  const back = button("As it was", () => show(as));
  const fit = el("output", {"aria-live": "polite"}), glass = el("output", {"aria-live": "polite"}), scale = el("output", {"aria-live": "polite"});

  const draw = () => {
    const from = sources(), lung = [];
    let chest = 0, dark = 0, first = 0;
    for (let i = 0; i < n; i++) {
      const x = i % columns, y = Math.floor(i/columns), outside = from[i] < 0;
      const value = ((outside ? (now.air ? -1000 : 0) : hu[from[i]]) + 1000)*now.gain/100 - 1000 + now.offset;
      const label = !now.moves ? labels[i] : outside ? (now.air ? 3 : 0) : labels[from[i]];
      if (label < 3) { chest++; if (value < -100) dark++; }
      if (label === 0) first++;
      if (label === 2) lung.push(value);
      const shade = 255*between(0, (value + 1350)/1500, 1), color = colors[label];
      paint(x, y, [shade, shade, shade]);
      paint(x + columns + gap, y, label === 3 ? [shade, shade, shade] : color.map(part => .5*shade + .5*part));
    }
    context.putImageData(picture, 0, 0);
    const middle = lung.sort((a, b) => a - b)[lung.length >> 1];
    fit.textContent = "Of the pixels that the mask calls lung or lesion, " + number(100*dark/chest) + " % are dark (below \u2212100 HU).";
    glass.textContent = "Ground glass: " + number(100*first/n, 1) + " % of the mask.";
    scale.textContent = "Median of healthy lung: " + number(middle) + " HU. Air: " + number(now.offset - 1000) + " HU.";
    tell(figure, {...now, dark: dark/chest, glass: first/n, lung: middle});
  };

  draw();
  return [el("div", {class: "covid-play-body"}, stage, el("div", {class: "covid-play-tools"},
    el("div", {class: "covid-play-row"}, another, back), fit, glass, scale, ...Object.values(sliders).map(one => one.root), mirror.root,
    moves.root, air.root))];
});
