// A slice behind a window that the reader sets, as at a radiologist's screen: level and width, and the HU under the cross.
start("hu_window", async (figure, data) => {
  const {rows, columns, presets} = data, n = rows*columns;
  const bytes = await inflate(data.hu), hu = new Int16Array(n);
  for (let i = 0; i < n; i++) hu[i] = bytes[i] | bytes[n + i] << 8;
  let [level, width] = Object.values(presets)[0], row = rows >> 1, column = columns >> 1;

  // The picture
  const canvas = el("canvas", {width: columns, height: rows, tabindex: 0, role: "application",
    "aria-label": "The slice. Arrow keys move the cross by one pixel, with Shift by ten.",
    pointermove: event => probe(event), pointerdown: event => probe(event), keydown: event => walk(event)});
  const context = canvas.getContext("2d"), picture = context.createImageData(columns, rows);
  const cross = el("div", {class: "covid-play-cross"});
  const stage = el("div", {class: "covid-play-stage"}, canvas, cross,
    el("span", {style: "left: .3rem", "aria-hidden": "true"}, "R"), el("span", {style: "right: .3rem", "aria-hidden": "true"}, "L"));

  // The axis of HU: how many pixels have each value (log), and where the window lies
  const low = -1200, high = 1200, bins = 120, counts = new Array(bins).fill(0);
  for (const value of hu) if (value >= low && value < high) counts[Math.floor((value - low)/(high - low)*bins)]++;
  const tall = counts.map(count => 56*Math.log1p(count)/Math.log1p(Math.max(...counts)));
  const bars = "M0 60" + tall.map((h, i) => "V" + (60 - h).toFixed(1) + "H" + (i + 1)).join("") + "V60Z";
  const [axis, span] = drawing(bins, 60, [["rect", {y: 0, height: 60, fill: "currentColor", opacity: .22}],
                                          ["path", {d: bars, fill: "currentColor", opacity: .75}]]);
  const ticks = [-1000, -500, 0, 500, 1000].map(value =>
    el("span", {style: "left: " + 100*(value - low)/(high - low) + "%"}, number(value)));
  const scale = el("div", {class: "covid-play-scale"}, axis, el("div", {"aria-hidden": "true"}, ...ticks));

  // The controls
  const under = el("output", {"aria-live": "polite"}), lost = el("output", {"aria-live": "polite"});
  const levels = slider("Level", {min: -1000, max: 1000, step: 10, value: level, unit: "HU"}, value => { level = value; draw(); });
  const widths = slider("Width", {min: 10, max: 3000, step: 10, value: width, unit: "HU"}, value => { width = value; draw(); });
  const buttons = Object.entries(presets).map(([name, [l, w]]) => button(name, () => {
    level = levels.set(l);
    width = widths.set(w);
    draw();
  }));

  const gray = value => 255*between(0, (value - level + width/2)/width, 1);
  const draw = () => {
    let black = 0, white = 0;
    for (let i = 0; i < n; i++) {
      const shade = gray(hu[i]);
      picture.data.set([shade, shade, shade, 255], 4*i);
      if (shade === 0) black++;
      if (shade === 255) white++;
    }
    context.putImageData(picture, 0, 0);
    const left = between(0, (level - width/2 - low)/(high - low)*bins, bins), right = between(0, (level + width/2 - low)/(high - low)*bins, bins);
    span.setAttribute("x", left);
    span.setAttribute("width", right - left);
    Object.values(presets).forEach(([l, w], i) => buttons[i].setAttribute("aria-pressed", l === level && w === width));
    lost.textContent = "From " + number(level - width/2) + " to " + number(level + width/2) + " HU: "
      + number(100*black/n) + " % of the pixels are black, " + number(100*white/n) + " % white.";
    point();
  };
  const point = () => {
    const value = hu[row*columns + column];
    cross.style.left = 100*(column + .5)/columns + "%";
    cross.style.top = 100*(row + .5)/rows + "%";
    under.textContent = number(value) + " HU at row " + row + ", column " + column + ": gray " + number(gray(value)) + " of 255";
    tell(figure, {level, width, row, column, hu: value});
  };
  const probe = event => {
    const [x, y] = place(canvas, event);
    column = between(0, Math.floor(x), columns - 1);
    row = between(0, Math.floor(y), rows - 1);
    point();
  };
  const walk = event => {
    const way = arrow(event, 10);
    if (!way) return;
    column = between(0, column + way[0], columns - 1);
    row = between(0, row + way[1], rows - 1);
    point();
  };

  draw();
  return [el("div", {class: "covid-play-body"}, stage, el("div", {class: "covid-play-tools"},
    el("p", {}, "Windows that radiologists use:"), el("div", {class: "covid-play-row"}, ...buttons),
    levels.root, widths.root, scale, lost,
    el("p", {}, "Under the cross (mouse, finger or arrow keys):"), under))];
});
