// Who stands alone? The reader ticks what an attacker knows; each person's k is the number of people who look the same then.
start("k_anonymity", async (figure, data) => {
  const {columns, rows, first_day} = data, n = columns*rows;
  const days = async text => { const b = await inflate(text); return Array.from({length: n}, (_, i) => b[i] + 256*b[n + i]); };
  const born = await days(data.born), scan = await days(data.scan), [sex, scanner] = [await inflate(data.sex), await inflate(data.scanner)];
  const iso = day => new Date(Date.parse(first_day) + 864e5*day).toISOString().slice(0, 10);
  const dates = {born: born.map(iso), scan: scan.map(iso)}, letters = {day: 10, month: 7, year: 4};
  const KNOWN = {born: "date of birth", sex: "sex", scan: "day of the scan", scanner: "scanner"};
  const CROWDS = [[1, "alone", "#d55e00"], [4, "2 to 4", "#f0b070"], [19, "5 to 19", "#7fb4d8"], [Infinity, "20 and more", "#0b3c5d"]];
  let known = new Set(data.known), coarse = "day", chosen = data.chosen;

  const fact = (name, i) => name === "sex" ? "FM"[sex[i]] : name === "scanner" ? String(scanner[i] + 1) : dates[name][i].slice(0, letters[coarse]);
  const crowd = k => CROWDS.findIndex(([most]) => k <= most);
  const paper = el("canvas", {width: columns, height: rows, tabindex: 0, role: "application", class: "covid-play-paper",
    style: "display: block; width: 100%; height: auto; image-rendering: pixelated; cursor: pointer; touch-action: manipulation",
    "aria-label": "One square for each person, colored by k. Arrow keys choose a person.",
    pointerdown: event => { const [x, y] = place(paper, event); choose(Math.floor(y), Math.floor(x)); },
    keydown: event => { const way = arrow(event, 10); if (way) choose(Math.floor(chosen/columns) + way[1], chosen % columns + way[0]); }});
  const choose = (row, column) => { chosen = between(0, row, rows - 1)*columns + between(0, column, columns - 1); draw(); };
  const ring = el("span", {"aria-hidden": "true", style: "position: absolute; width: 1rem; height: 1rem; transform: translate(-50%, -50%); "
    + "border: 3px solid #fff; outline: 2px solid #000; border-radius: 50%; pointer-events: none; padding: 0; background: none"});

  const said = el("output", {"aria-live": "polite"}), one = el("output", {"aria-live": "polite"});
  const bars = CROWDS.map(([, text, color]) => {
    const bar = el("span", {style: "display: block; height: 1em; min-width: 1px; background: " + color}), share = el("span", {});
    return {bar, share, root: el("div", {style: "display: grid; grid-template-columns: 6.5rem minmax(0, 1fr) 4.5rem; gap: .5rem; align-items: center"},
      el("span", {}, text), el("span", {"aria-hidden": "true"}, bar), share)};
  });
  const draw = () => {
    const names = Object.keys(KNOWN).filter(name => known.has(name)), counts = new Map();
    const keys = Array.from({length: n}, (_, i) => names.map(name => fact(name, i)).join("|"));
    for (const key of keys) counts.set(key, (counts.get(key) || 0) + 1);
    const k = keys.map(key => counts.get(key)), sorted = [...k].sort((a, b) => a - b), found = CROWDS.map(() => 0);
    const context = paper.getContext("2d");
    k.forEach((value, i) => {
      found[crowd(value)]++;
      context.fillStyle = CROWDS[crowd(value)][2];
      context.fillRect(i % columns, Math.floor(i/columns), 1, 1);
    });
    ring.style.left = 100*(chosen % columns + .5)/columns + "%";
    ring.style.top = 100*(Math.floor(chosen/columns) + .5)/rows + "%";
    bars.forEach(({bar, share}, i) => { bar.style.width = 100*found[i]/n + "%"; share.textContent = number(100*found[i]/n, 1) + " %"; });
    said.textContent = (names.length ? "Known: " + names.map(name => KNOWN[name]).join(", ") : "Nothing is known") + ". " + found[0] + " of "
      + n + " people stand alone. Smallest k: " + sorted[0] + "; median k: " + number((sorted[n/2 - 1] + sorted[n/2])/2, 1).replace(".0", "") + ".";
    const facts = names.map(name => KNOWN[name] + " " + fact(name, chosen)).join(", ");
    one.textContent = "The person in the ring: " + (facts || "nothing known") + ". k = " + k[chosen]
      + (k[chosen] === 1 ? ": nobody else. A list with names finds her or him." : ": " + (k[chosen] - 1) + " more look the same.");
    tell(figure, {known: names, coarse, alone: found[0], least: sorted[0], found, chosen, k: k[chosen]});
  };

  const boxes = Object.entries(KNOWN).map(([name, text]) => el("label", {}, el("input", {type: "checkbox", checked: known.has(name), value: name,
    change: event => { event.target.checked ? known.add(name) : known.delete(name); draw(); }}), el("span", {}, text)));
  const fine = radios("Dates are kept to the", [["day", "day"], ["month", "month"], ["year", "year"]], coarse, value => { coarse = value; draw(); });
  draw();
  const left = el("div", {style: "flex: 3 1 17rem; min-width: 0"}, el("div", {style: "position: relative; overflow: hidden"}, paper, ring),
    el("div", {style: "margin-top: .6rem"}, ...bars.map(b => b.root)));
  const right = el("div", {class: "covid-play-tools"}, el("fieldset", {}, el("legend", {}, "The attacker knows"), ...boxes), fine.root, said, one,
    el("div", {class: "covid-play-row"}, button("Another person", () => { chosen = (chosen*7 + 1237) % n; draw(); }, {class: "covid-play-main"})));
  return [el("div", {class: "covid-play-body"}, left, right)];
});
