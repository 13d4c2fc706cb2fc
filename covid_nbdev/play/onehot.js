// A mask of 4 x 4 pixels as four channels of 0 and 1: what argmax makes of them, and what onehot_to_mask makes of them.
start("onehot", async (figure, data) => {
  const {classes, colors, mask} = data, n = mask.length, k = classes.length, cell = 64;
  let hot, row = 1, column = 2;

  // As covid_nbdev.masks: of several hot channels consolidation wins, then ground glass, lung, background; none is background.
  const argmax = bits => bits.indexOf(Math.max(...bits));
  const fold = bits => [1, 0, 2, 3].find(c => bits[c]) ?? 3;
  const labeled = () => mask.map(line => line.map(label => classes.map((_, c) => Number(c === label))));
  const each = rule => hot.map(line => line.map(rule));

  // The three grids
  const canvas = label => el("canvas", {width: n*cell, height: n*cell, tabindex: 0, role: "application", "aria-label": label + " Arrow keys choose a pixel.",
    pointerdown: event => pick(event), keydown: event => {
      const way = arrow(event, 1);
      if (way) choose(row + way[1], column + way[0]);
    }});
  const grids = ["The four channels of each pixel.", "The labels by argmax.", "The labels by onehot_to_mask."].map(canvas);
  const pick = event => {
    const [x, y] = place(event.target, event);
    choose(Math.floor(y/cell), Math.floor(x/cell));
  };
  const choose = (r, c) => { [row, column] = [between(0, r, n - 1), between(0, c, n - 1)]; draw(); };
  const paint = (grid, text, color, size) => {
    const context = grid.getContext("2d");
    for (let y = 0; y < n; y++) for (let x = 0; x < n; x++) {
      context.fillStyle = "#fff";
      context.fillRect(x*cell, y*cell, cell, cell);
      context.fillStyle = color(y, x);
      context.fillRect(x*cell + 1, y*cell + 1, cell - 2, cell - 2);
      Object.assign(context, {font: "600 " + size + "px sans-serif", fillStyle: "#000", textAlign: "center", textBaseline: "middle"});
      const lines = text(y, x);
      lines.forEach((line, i) => context.fillText(line, (x + .5)*cell, (y + (i + 1)/(lines.length + 1))*cell));
    }
    Object.assign(context, {strokeStyle: "#000", lineWidth: 6});
    context.strokeRect(column*cell + 4, row*cell + 4, cell - 8, cell - 8);
  };

  // The controls
  const switches = classes.map((name, c) => button(c + " " + name, () => { hot[row][column][c] = 1 - hot[row][column][c]; draw(); }));
  const set = change => () => { hot = labeled(); change(); draw(); };
  const presets = [
    button("All labeled", set(() => {})),
    button("First row without labels", set(() => { hot[0].forEach(bits => bits.fill(0)); row = 0; })),
    button("No background drawn", set(() => hot.flat().forEach(bits => { bits[3] = 0; }))),
    button("Two labels in one pixel", set(() => { [row, column] = [1, 2]; hot[1][2][1] = 1; }))];
  const said = el("output", {"aria-live": "polite"}), lesions = el("output", {class: "covid-play-score", style: "font-size: 1.15em"});

  const draw = () => {
    const bits = hot[row][column], first = each(argmax), folded = each(fold);
    paint(grids[0], (y, x) => [hot[y][x].slice(0, 2).join("  "), hot[y][x].slice(2).join("  ")], (y, x) => hot[y][x].reduce((a, b) => a + b) === 1 ? "#eee" : "#f5c9a8", 20);
    paint(grids[1], (y, x) => [first[y][x]], (y, x) => colors[first[y][x]], 26);
    paint(grids[2], (y, x) => [folded[y][x]], (y, x) => colors[folded[y][x]], 26);
    switches.forEach((made, c) => made.setAttribute("aria-pressed", bits[c] === 1));
    const name = label => label + " " + classes[label], code = bits.reduce((sum, bit, c) => sum + bit*2**c, 0);
    said.textContent = "Row " + row + ", column " + column + ": channels " + bits.join(" ") + ", code " + code + ". argmax: "
      + name(first[row][column]) + ". onehot_to_mask: " + name(folded[row][column]) + ".";
    const count = labels => labels.flat().filter(label => label < 2).length;
    lesions.textContent = "Pixels of disease: " + count(first) + " by argmax, " + count(folded) + " by onehot_to_mask.";
    tell(figure, {row, column, hot, argmax: first, folded});
  };

  hot = labeled();
  draw();
  const titled = (grid, title) => el("div", {style: "min-width: 0"}, el("p", {style: "font-weight: 600"}, title),
    el("div", {class: "covid-play-stage", style: "background: transparent"}, grid));
  return [el("div", {class: "covid-play-body"},
    el("div", {style: "flex: 3 1 17rem; min-width: 0; display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem"},
      titled(grids[0], "channels"), titled(grids[1], "argmax"), titled(grids[2], "onehot_to_mask")),
    el("div", {class: "covid-play-tools", style: "flex: 1 1 13rem"}, el("p", {}, "Switch the channels of the framed pixel:"),
      el("div", {class: "covid-play-row"}, ...switches), said, lesions, el("p", {}, "Or try:"), el("div", {class: "covid-play-row"}, ...presets)))];
});
