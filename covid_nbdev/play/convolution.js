// A filter slid over a small grid: the products under it, their sum, and the output map that fills place by place.
start("convolution", async (figure, data) => {
  const {grid, filters} = data, n = grid.length, k = 3, ring = 1, side = n + 2*ring, cell = 64;
  let chosen = 0, weights = filters[0].weights.map(line => [...line]), over = filters[0].over;
  let stride = 1, padding = 0, row = 0, column = 0, timer = null, done;

  // As covid_nbdev.convolution computes. Places of the output are (row, column).
  const places = () => Math.floor((n + 2*padding - k)/stride) + 1;
  const pixel = (y, x) => y >= 0 && x >= 0 && y < n && x < n ? grid[y][x] : 0;      // zero padding
  const products = (r, c) => weights.map((line, i) => line.map((weight, j) => [weight, pixel(r*stride - padding + i, c*stride - padding + j)]));
  const sum = (r, c) => products(r, c).flat().reduce((total, [weight, value]) => total + weight*value, 0)/over;
  const text = (value, digits) => number(value, Number.isInteger(Math.round(1000*value)/1000) ? 0 : digits || 2);
  const forget = () => { done = Array.from({length: places()}, () => new Array(places()).fill(false)); };

  // The two maps. The left one keeps room for the ring of zeros, so that nothing jumps when padding is switched on.
  const map = (across, label, move) => el("canvas", {width: across*cell, height: across*cell, tabindex: 0, role: "application", "aria-label": label,
    pointerdown: move, pointermove: move, keydown: event => walk(event)});
  const input = map(side, "The input grid. Arrow keys move the filter by one place.", event => {
    const [x, y] = place(input, event);      // the middle of the filter follows the pointer
    visit(Math.round((y/cell - ring + padding - k/2)/stride), Math.round((x/cell - ring + padding - k/2)/stride));
  });
  const output = map(n, "The output map. Arrow keys move by one place.", event => {
    const [x, y] = place(output, event);
    visit(Math.floor(y/cell), Math.floor(x/cell));
  });
  const write = (context, words, x, y, size, color, align) => {
    Object.assign(context, {font: "600 " + size + "px sans-serif", fillStyle: color, textAlign: align || "center", textBaseline: "middle"});
    context.fillText(words, x, y);
  };
  const box = (context, y, x, across, color, width) => {
    Object.assign(context, {strokeStyle: color, lineWidth: width});
    context.strokeRect(x*cell + width/2, y*cell + width/2, across*cell - width, across*cell - width);
  };
  const brightest = Math.max(1, ...grid.flat());
  const paintInput = () => {
    const context = input.getContext("2d"), top = row*stride - padding, left = column*stride - padding;
    context.clearRect(0, 0, input.width, input.height);
    for (let y = -padding; y < n + padding; y++) for (let x = -padding; x < n + padding; x++) {
      const inside = y >= 0 && x >= 0 && y < n && x < n, under = y >= top && x >= left && y < top + k && x < left + k;
      const shade = inside ? Math.round(40 + 190*pixel(y, x)/brightest) : 0, ink = shade > 120 ? "#000" : "#fff";
      context.fillStyle = "rgb(" + [shade, shade, shade] + ")";
      context.fillRect((x + ring)*cell + 1, (y + ring)*cell + 1, cell - 2, cell - 2);
      if (!inside) box(context, y + ring, x + ring, 1, "#777", 1);
      write(context, text(pixel(y, x)), (x + ring + .5)*cell, (y + ring + (under ? .34 : .5))*cell, 26, ink);
      if (under) write(context, "\u00d7 " + text(weights[y - top][x - left]), (x + ring + .5)*cell, (y + ring + .74)*cell, 19, ink);
    }
    box(context, top + ring, left + ring, k, "#e69f00", 6);
  };
  const paintOutput = () => {
    const context = output.getContext("2d"), count = places();
    const all = done.map((line, r) => line.map((_, c) => sum(r, c))), largest = Math.max(1e-9, ...all.flat().map(Math.abs));
    context.clearRect(0, 0, output.width, output.height);
    for (let r = 0; r < count; r++) for (let c = 0; c < count; c++) {
      context.fillStyle = "#000";
      context.fillRect(c*cell, r*cell, cell, cell);
      box(context, r, c, 1, "#777", 1);
      if (!done[r][c]) continue;
      const share = Math.abs(all[r][c])/largest, full = all[r][c] < 0 ? [0, 100, 170] : [190, 75, 0];
      context.fillStyle = "rgb(" + full.map(value => Math.round(35 + (value - 35)*share)) + ")";
      context.fillRect(c*cell + 1, r*cell + 1, cell - 2, cell - 2);
      write(context, text(all[r][c], 1), (c + .5)*cell, (r + .5)*cell, 24, "#fff");
    }
    box(context, row, column, 1, "#e69f00", 6);
    return all;
  };

  // The controls
  const options = [...filters.map(({name}, i) => [String(i), name]), ["own", "your own numbers"]];
  const which = radios("Filter", options, "0", value => {
    chosen = value;
    if (value !== "own") weights = filters[value].weights.map(line => [...line]);
    over = value === "own" ? 1 : filters[value].over;
    fields.flat().forEach((field, i) => { field.value = weights.flat()[i]; });
    restart();
  });
  const fields = weights.map((line, i) => line.map((weight, j) => el("input", {type: "number", step: "any", value: weight,
    "aria-label": "weight in row " + i + ", column " + j, style: "width: 3.6rem; min-height: 2rem; font: inherit; padding: .1rem .25rem",
    input: () => {
      if (chosen !== "own") {
        chosen = "own";
        over = 1;
        which.choose("own");
      }
      weights[i][j] = between(-99, Number(fields[i][j].value) || 0, 99);
      restart();
    }})));
  const strides = radios("Stride", [[1, "1: every place"], [2, "2: every second place"]], stride, value => { stride = value; restart(); });
  const paddings = radios("Padding", [[0, "0: none"], [1, "1: a ring of zeros"]], padding, value => { padding = value; restart(); });
  const next = button("Next place", () => { stop(); step(); });
  const run = button("Run", () => {
    if (timer) { stop(); return; }
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) { fill(); return; }
    run.textContent = "Stop";
    timer = setInterval(() => { if (!figure.isConnected || done.flat().every(Boolean)) stop(); else step(); }, 450);
  });
  const stop = () => { clearInterval(timer); timer = null; run.textContent = "Run"; };
  const fill = () => { stop(); done.forEach(line => line.fill(true)); draw(); };
  const clear = () => { stop(); restart(); };

  const sizes = el("p", {}), divided = el("p", {}), written = el("output", {"aria-live": "polite"});
  const visit = (r, c) => {
    const last = places() - 1;
    [r, c] = [between(0, r, last), between(0, c, last)];
    if (r === row && c === column) return;
    stop();
    go(r, c);
  };
  const go = (r, c) => { [row, column] = [r, c]; done[row][column] = true; draw(); };
  const step = () => {      // the next place in reading order; after the last one, the first
    const count = places(), at = (row*count + column + 1) % (count*count);
    go(Math.floor(at/count), at % count);
  };
  const walk = event => {
    const way = arrow(event, 1);
    if (way) visit(row + way[1], column + way[0]);
  };
  const restart = () => { stop(); [row, column] = [0, 0]; forget(); done[0][0] = true; draw(); };
  const draw = () => {
    paintInput();
    const all = paintOutput(), count = places(), lines = products(row, column);
    sizes.textContent = n + "\u00d7" + n + " in, " + count + "\u00d7" + count + " out: (" + n + " + 2\u00b7" + padding + " \u2212 " + k + ")/" + stride
      + " + 1" + (Number.isInteger((n + 2*padding - k)/stride) ? "" : ", rounded down") + " = " + count + ".";
    divided.textContent = over === 1 ? "Change a number to make a filter of your own." : "The sum is divided by " + over + ".";
    const total = lines.flat().reduce((sum, [weight, value]) => sum + weight*value, 0);
    const bracket = value => value < 0 ? "(" + text(value) + ")" : text(value);
    written.replaceChildren("Output row " + row + ", column " + column + ":", ...lines.flatMap((line, i) =>
      [el("br"), (i ? "+ " : "\u2002 ") + line.map(([weight, value]) => bracket(weight) + "\u00b7" + text(value)).join(" + ")]),
      el("br"), "= " + text(total) + (over === 1 ? "" : "; divided by " + over + ": " + text(total/over)));
    tell(figure, {row, column, stride, padding, weights: weights.map(line => line.map(weight => weight/over)), sum: all[row][column],
      output: all.map((line, r) => line.map((value, c) => done[r][c] ? value : null))});
  };

  restart();
  const stage = (canvas, widest) => el("div", {class: "covid-play-stage", style: "flex: 1 1 11rem; background: transparent; max-width: " + widest}, canvas);
  const own = el("div", {role: "group", "aria-label": "The nine weights", style: "display: grid; grid-template-columns: repeat(3, max-content); gap: .25rem"}, ...fields.flat());
  const maps = el("div", {style: "flex: 3 1 17rem; min-width: 0; display: flex; flex-direction: column; gap: .6rem"},
    el("div", {style: "display: flex; flex-wrap: wrap; gap: .75rem; align-items: center"}, stage(input, "21rem"), stage(output, "15rem")),
    sizes, written, el("div", {class: "covid-play-row"}, next, run, button("Fill all", fill), button("Clear", clear)));
  return [el("div", {class: "covid-play-body"}, maps, el("div", {class: "covid-play-tools", style: "flex: 1 1 13rem"},
    which.root, own, divided, strides.root, paddings.root))];
});
