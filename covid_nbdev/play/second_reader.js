// Draw a lesion twice, without seeing the first drawing or the truth; then compare all of them by Dice.
start("second_reader", async (figure, data) => {
  const {rows, columns, model} = data, n = rows*columns;
  const [gray, truth, predicted] = await Promise.all([data.gray, data.truth, data.predicted].map(inflate));
  const drawings = [new Uint8Array(n), new Uint8Array(n)];
  const blue = [86, 180, 233], [yellow, red, green] = data.colors;
  let turn = 0, erasing = false, radius = 4, before = [];     // turn 2: both are drawn
  let x = columns/2, y = rows/2, down = false, shown = "twice";

  // Same as covid_nbdev.metrics: 2 common / (both sizes), and 1 where both are empty
  const compare = (a, b) => {
    let both = 0, first = 0, second = 0;
    for (let i = 0; i < n; i++) { both += a[i] & b[i]; first += a[i] & ~b[i]; second += b[i] & ~a[i]; }
    return {both, first, second, dice: 2*both + first + second ? 2*both/(2*both + first + second) : 1};
  };
  const pairs = {
    twice: ["you, twice", drawings[0], drawings[1], "in your first drawing alone", "in your second alone"],
    first: ["your first drawing and the truth", drawings[0], truth, "drawn, not true", "true, not drawn"],
    second: ["your second drawing and the truth", drawings[1], truth, "drawn, not true", "true, not drawn"],
    model: [model + " and the truth", predicted, truth, "predicted, not true", "true, not predicted"],
  };

  // The paper
  const canvas = el("canvas", {width: columns, height: rows, tabindex: 0, class: "covid-play-paper", role: "application",
    "aria-label": "The slice to draw on. Arrow keys move the brush by one pixel, with Shift by eight; Space lowers and lifts it.",
    pointerdown: event => press(event), pointermove: event => move(event), pointerup: () => lift(), pointercancel: () => lift(),
    keydown: event => key(event), blur: () => lift()});
  // A quick stroke is no fling: after one, Chrome would swallow the next tap on a button. Two fingers still zoom.
  canvas.addEventListener("touchmove", event => { if (turn < 2 && event.touches.length === 1) event.preventDefault(); }, {passive: false});
  const context = canvas.getContext("2d"), picture = context.createImageData(columns, rows);
  const ring = el("div", {class: "covid-play-cross"});
  const stage = el("div", {class: "covid-play-stage"}, canvas, ring);

  const color = (i, a, b) => {
    if (turn < 2) return drawings[turn][i] ? [blue, .45] : null;
    return a[i] && b[i] ? [yellow, .6] : a[i] ? [red, .75] : b[i] ? [green, .75] : null;
  };
  const draw = () => {
    const [, a, b] = pairs[shown];
    for (let i = 0; i < n; i++) {
      const [over, share] = color(i, a, b) || [blue, 0];
      for (let c = 0; c < 3; c++) picture.data[4*i + c] = (1 - share)*gray[i] + share*over[c];
      picture.data[4*i + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
    ring.hidden = turn === 2;
    ring.style.display = turn === 2 ? "none" : "";
    ring.style.left = 100*x/columns + "%";
    ring.style.top = 100*y/rows + "%";
    ring.style.width = 200*radius/columns + "%";
    ring.style.height = 200*radius/rows + "%";
  };

  // Every pixel whose middle lies within the brush on its way from the last place to this one
  const stroke = (x0, y0, x1, y1) => {
    const drawn = drawings[turn], dx = x1 - x0, dy = y1 - y0, long = dx*dx + dy*dy;
    const from = [Math.min(x0, x1), Math.min(y0, y1)].map(v => Math.floor(v - radius));
    const to = [Math.max(x0, x1), Math.max(y0, y1)].map(v => Math.ceil(v + radius));
    for (let r = Math.max(0, from[1]); r < Math.min(rows, to[1]); r++) {
      for (let c = Math.max(0, from[0]); c < Math.min(columns, to[0]); c++) {
        const t = long ? between(0, ((c + .5 - x0)*dx + (r + .5 - y0)*dy)/long, 1) : 0;
        const ex = c + .5 - x0 - t*dx, ey = r + .5 - y0 - t*dy;
        if (ex*ex + ey*ey <= radius*radius) drawn[r*columns + c] = erasing ? 0 : 1;
      }
    }
  };
  const keep = () => { before.push(drawings[turn].slice()); if (before.length > 100) before.shift(); };
  const press = event => {
    if (turn === 2 || event.button !== 0 || !event.isPrimary) return;
    canvas.setPointerCapture(event.pointerId);
    [x, y] = place(canvas, event);
    keep();
    down = true;
    stroke(x, y, x, y);
    changed();
  };
  const move = event => {
    if (turn === 2 || !event.isPrimary) return;
    go(...place(canvas, event));
  };
  const go = (toX, toY) => {
    if (down) stroke(x, y, toX, toY);
    [x, y] = [toX, toY];
    if (down) changed(); else draw();
  };
  const lift = () => { if (down) { down = false; changed(); } };
  const key = event => {
    if (turn === 2) return;
    const way = arrow(event, 8);
    if (way) go(between(.5, x + way[0], columns - .5), between(.5, y + way[1], rows - .5));
    else if (event.key === " ") {
      event.preventDefault();
      down = !down;
      if (down) { keep(); stroke(x, y, x, y); }
      changed();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); back(); }
  };

  // The tools
  const task = el("p", {"aria-live": "polite"}), size = el("output", {"aria-live": "polite"});
  const tool = radios("Tool", [["brush", "brush"], ["eraser", "eraser"]], "brush", value => { erasing = value === "eraser"; });
  const brush = slider("Brush radius", {min: 1, max: 12, step: 1, value: radius, unit: "px"}, value => { radius = value; draw(); });
  const back = () => { const last = before.pop(); if (last) drawings[turn].set(last); changed(); };
  const undo = button("Undo", back);
  const clear = button("Clear", () => { keep(); drawings[turn].fill(0); changed(); });
  const done = button("", () => { down = false; turn++; before = []; changed(); (turn < 2 ? canvas : again).focus(); }, {class: "covid-play-main"});
  const tools = el("div", {class: "covid-play-tools"}, tool.root, brush.root, el("div", {class: "covid-play-row"}, undo, clear, done), size);

  // The results
  const again = button("Draw again from the start", () => {
    for (const drawn of drawings) drawn.fill(0);
    turn = 0;
    shown = "twice";
    changed();
    canvas.focus();
  });
  const verdict = el("output", {"aria-live": "polite"}), chooser = el("div", {});
  const results = el("div", {class: "covid-play-tools"}, chooser, verdict, again,
    el("p", {}, "Teaching material: not for diagnosis."));
  const show = value => {
    const [, a, b, onlyA, onlyB] = pairs[value], found = compare(a, b);
    shown = value;
    verdict.textContent = "Yellow: both, " + found.both + " px. Red: " + onlyA + ", " + found.first
      + " px. Green: " + onlyB + ", " + found.second + " px.";
    draw();
  };

  const aside = el("div", {class: "covid-play-tools"});
  const changed = () => {
    const drawn = turn < 2 ? drawings[turn].reduce((sum, value) => sum + value, 0) : 0;
    task.textContent = [
      "First drawing: mark all that you take for a lesion, ground glass or consolidation.",
      "Second drawing: the same slice from the start. Your first drawing is hidden, the truth too.",
      "Both are drawn. Dice of each pair:"][turn];
    size.textContent = number(drawn) + " px marked" + (down ? ", brush down" : "");
    canvas.style.touchAction = turn < 2 ? "" : "pan-y pinch-zoom";     // done, the page scrolls under the finger again
    done.textContent = turn ? "Done: compare" : "Done: draw it again";
    done.disabled = !drawn;
    undo.disabled = !before.length;
    clear.disabled = !drawn;
    const part = turn < 2 ? tools : results;
    if (aside.firstChild !== part) aside.replaceChildren(part);     // put there anew, a button would lose the focus
    if (turn < 2) { draw(); return tell(figure, {turn, drawn: drawings[turn].slice()}); }
    const dice = Object.fromEntries(Object.entries(pairs).map(([name, [, a, b]]) => [name, compare(a, b).dice]));
    const choices = Object.entries(pairs).map(([name, [text]]) => [name, text + ": " + number(dice[name], 3)]);
    chooser.replaceChildren(radios("Dice; choose a pair to see it", choices, shown, show).root);
    show(shown);
    tell(figure, {turn, dice, drawings: drawings.map(d => d.slice())});
  };

  changed();
  return [el("div", {class: "covid-play-task"}, task), el("div", {class: "covid-play-body"}, stage, aside)];
});
