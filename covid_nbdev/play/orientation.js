// A slice as a file may store it: turned and flipped, with marks for the patient's sides; what each step makes of the two axes.
start("orientation", async (figure, data) => {
  const n = data.size, upright = await inflate(data.gray), cell = 4, opposite = {R: "L", L: "R", A: "P", P: "A"};
  const sides = {R: "right", L: "left", A: "front", P: "back"};
  let down, right, steps, row = n >> 1, column = n >> 1, shown = true;

  // Where pixel (i, j) of the array lies in the upright slice: rows lead to the back (P), columns to the left (L).
  const along = (letter, i) => "PL".includes(letter) ? i : n - 1 - i;
  const source = (i, j) => "AP".includes(down) ? [along(down, i), along(right, j)] : [along(right, j), along(down, i)];
  const place_of = {R: [1, 0], L: [-1, 0], A: [0, 1], P: [0, -1]};
  const mirrored = () => place_of[right][0]*place_of[down][1] - place_of[right][1]*place_of[down][0] < 0;

  // The picture and its marks
  const canvas = el("canvas", {width: n*cell, height: n*cell, tabindex: 0, role: "application",
    "aria-label": "The array as imshow draws it. Arrow keys move the cross by one pixel, with Shift by ten.",
    pointerdown: event => probe(event), pointermove: event => probe(event), keydown: event => {
      const way = arrow(event, 10);
      if (way) move(row + way[1], column + way[0]);
    }});
  const context = canvas.getContext("2d"), picture = context.createImageData(n*cell, n*cell), cross = el("div", {class: "covid-play-cross"});
  const mark = style => el("span", {style, "aria-hidden": "true"});
  const marks = {top: mark("top: .9rem; left: 50%; transform: translate(-50%, -50%)"), bottom: mark("top: auto; bottom: .1rem; left: 50%; transform: translateX(-50%)"),
    left: mark("left: .3rem"), right: mark("right: .3rem")};
  const stage = el("div", {class: "covid-play-stage"}, canvas, cross, ...Object.values(marks));
  const probe = event => {
    const [x, y] = place(canvas, event);
    move(Math.floor(y/cell), Math.floor(x/cell));
  };
  const move = (r, c) => { [row, column] = [between(0, r, n - 1), between(0, c, n - 1)]; point(); };

  // The steps, as NumPy takes them
  const moves = {
    "np.rot90(a)": () => { [down, right] = [opposite[right], down]; },
    "a[:, ::-1]": () => { right = opposite[right]; },
    "a[::-1]": () => { down = opposite[down]; },
    "a.T": () => { [down, right] = [right, down]; }};
  const take = (name, change) => () => { change(); steps.push(name); draw(); };
  const stored = letters => { [down, right] = letters; steps = []; if (figure.dataset.state === "ready") draw(); };
  const files = radios("The file's first two axes lead to", data.files.map(letters => [letters, letters[0] + ", " + letters[1]]), data.files[0], value => stored(value));
  const hide = radios("Marks", [[true, "shown"], [false, "hidden"]], true, value => { shown = value; draw(); });
  const verdict = el("output", {"aria-live": "polite", style: "font-weight: 700"}), axes = el("output", {"aria-live": "polite"});
  const done = el("output", {}), under = el("output", {"aria-live": "polite"});

  const draw = () => {
    for (let y = 0; y < n*cell; y++) for (let x = 0; x < n*cell; x++) {
      const [r, c] = source(Math.floor(y/cell), Math.floor(x/cell)), shade = upright[r*n + c];
      picture.data.set([shade, shade, shade, 255], 4*(y*n*cell + x));
    }
    context.putImageData(picture, 0, 0);
    for (const [at, letter] of Object.entries({top: opposite[down], bottom: down, left: opposite[right], right})) {
      marks[at].textContent = letter;
      marks[at].hidden = !shown;
    }
    axes.textContent = "Down the picture leads to the patient's " + sides[down] + " (" + down + "), across it to the " + sides[right] + " (" + right + ").";
    verdict.textContent = down + right === "PL" ? "Upright: front on top, the patient's right on your left."
      : !mirrored() ? "Turned, not mirrored: a turn makes it right."
      : down === "P" ? "It looks right and is wrong: front on top, but mirrored. The heart is on the wrong side." : "Mirrored: no turn makes it right, it takes a flip.";
    done.textContent = steps.length ? "Steps: " + steps.join(", then ") + "." : "As stored.";
    point();
  };
  const point = () => {
    cross.style.left = 100*(column + .5)/n + "%";
    cross.style.top = 100*(row + .5)/n + "%";
    const [r, c] = source(row, column), half = (n - 1)/2;
    under.textContent = "Row " + row + ", column " + column + " of the array: in the patient " + number(Math.abs(c - half)*data.mm) + " mm to the "
      + (c > half ? "left" : "right") + " and " + number(Math.abs(r - half)*data.mm) + " mm to the " + (r > half ? "back" : "front") + " of the middle.";
    tell(figure, {down, right, mirrored: mirrored(), steps, row, column, source: [r, c]});
  };

  stored(data.files[0]);
  draw();
  return [el("div", {class: "covid-play-body"}, stage, el("div", {class: "covid-play-tools"}, files.root,
    el("p", {}, "What a program may do with it:"),
    el("div", {class: "covid-play-row"}, ...Object.entries(moves).map(([name, change]) => button(name, take(name, change))),
      button("As stored", () => { stored(data.files[0]); files.choose(data.files[0]); draw(); })),
    done, axes, verdict, hide.root, el("p", {}, "Under the cross (mouse, finger or arrow keys):"), under))];
});
