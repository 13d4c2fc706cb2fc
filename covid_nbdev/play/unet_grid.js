// The grid of maps X(i, j): choose a node, and it tells what it takes, with channels and shapes. As U-Net++, or as the plain U-Net.
start("unet_grid", async (figure, data) => {
  let {network, size, width, depth} = data, node = data.node;
  const classes = data.classes, at = (i, j) => i + "," + j;
  const colors = {kept: "#0072b2", raised: "#d55e00", halved: "#009e73"};

  // The network: its nodes, what each takes, and how many channels and weights that makes
  const channels = i => width*2**i, side = i => size/2**i;
  const nodes = () => {
    const all = [];
    for (let j = 0; j <= depth; j++) for (let i = 0; i <= depth - j; i++)
      if (network === "U-Net++" || j === 0 || i + j === depth) all.push([i, j]);
    return all;
  };
  const inputs = (i, j) => {           // [row, column, how it comes in]
    if (j === 0) return i ? [[i - 1, 0, "halved"]] : [];
    const left = network === "U-Net" ? [0] : [...Array(j).keys()];
    return [...left.map(k => [i, k, "kept"]), [i + 1, j - 1, "raised"]];
  };
  const taken = (i, j) => inputs(i, j).reduce((sum, [row]) => sum + channels(row), 0) || 1;
  const block = (i, j) => 9*channels(i)*(taken(i, j) + channels(i)) + 4*channels(i);
  const raising = (i, j) => j ? channels(i + 1)*(4*channels(i + 1) + 1) : 0;
  const weights = () => nodes().reduce((sum, [i, j]) => sum + block(i, j) + raising(i, j), 0) + classes*(width + 1);
  const exists = ([i, j]) => nodes().some(([row, column]) => row === i && column === j);
  const many = value => value.toLocaleString("en-US");
  const shape = (i, at = i) => [channels(i), side(at), side(at)].join("\u00a0×\u00a0");     // on one line

  // The controls
  const kinds = radios("Network", [["U-Net", "U-Net"], ["U-Net++", "U-Net++"]], network, value => { network = value; build(); });
  const sizes = slider("Side of the slice", {min: 32, max: 512, step: 4, value: size, unit: "pixels"}, value => { size = value; build(); });
  const widths = slider("Channels of the first row", {min: 4, max: 64, step: 4, value: width, unit: "channels"}, value => { width = value; build(); });
  const depths = slider("Depth: the side is halved", {min: 1, max: 5, step: 1, value: depth, unit: "times"}, value => { depth = value; build(); });
  const said = el("div", {role: "status", style: "min-height: 15em"}), whole = el("p");

  // The grid: buttons over lines. One button at a time is in the tab order; arrow keys go to the next node that way.
  const grid = el("div", {role: "group", "aria-label": "The grid of maps. Arrow keys go from node to node.", keydown: event => walk(event),
                          style: "position: relative; flex: 3 1 17rem; min-width: 0; max-width: 36rem"});
  const key = el("p", {style: "font-size: .9em"}, ...[["kept", "kept as it is"], ["raised", "raised to twice the side"], ["halved", "halved by pooling"]]
    .map(([how, text]) => el("span", {style: "display: inline-block; margin-right: 1em"}, el("span", {"aria-hidden": "true",
      style: "display: inline-block; width: 1.4em; height: .3em; margin: 0 .3em .15em 0; background: " + colors[how]}), text)));
  let buttons = new Map(), lines = [];
  // All in percent of the grid: a node's middle, half its width and height. Lines end at its border, so that nodes need no color of their own.
  const x = j => 12 + (j + .5)/(depth + 1)*88, y = i => 8 + (i + .5)/(depth + 1)*92;
  const halfWide = () => Math.min(8, .36*88/(depth + 1)), halfTall = () => Math.min(11, .34*92/(depth + 1));
  const line = (i, j, row, column, how) => {
    const w = halfWide(), h = halfTall(), far = j - column - 1;
    if (how === "halved") return "M" + x(j) + " " + (y(row) + h) + "V" + (y(i) - h);
    if (how === "raised") return "M" + (x(column) + w) + " " + (y(row) - h) + "L" + (x(j) - w) + " " + (y(i) + h);
    if (network === "U-Net" || !far) return "M" + (x(column) + w) + " " + y(i) + "H" + (x(j) - w);
    return "M" + x(column) + " " + (y(i) - h) + "Q" + (x(column) + x(j))/2 + " " + (y(i) - h - 5 - 4*far) + " " + x(j) + " " + (y(i) - h);
  };

  const build = () => {
    if (!exists(node)) node = [0, depth];
    const parts = nodes().flatMap(([i, j]) => inputs(i, j).map(([row, column, how]) =>
      ({to: at(i, j), how, d: line(i, j, row, column, how)})));
    const [root, ...made] = drawing(100, 100, parts.map(({d}) => ["path", {d, fill: "none", "vector-effect": "non-scaling-stroke"}]));
    root.setAttribute("style", "position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible");
    lines = made.map((path, k) => ({path, ...parts[k]}));
    buttons = new Map(nodes().map(([i, j]) => {
      const made = button("", () => choose([i, j]), {style: spot(i, j)});
      made.append(el("strong", {}, i + ", " + j), el("br"), String(channels(i)));
      made.setAttribute("aria-label", "X(" + i + ", " + j + "), " + channels(i) + " channels");
      return [at(i, j), made];
    }));
    const rows = [...Array(depth + 1).keys()].map(i => el("span", {"aria-hidden": "true", style: "position: absolute; left: 0; top: " + y(i)
      + "%; transform: translateY(-50%); font-size: .8em"}, Number.isInteger(side(i)) ? side(i) + "²" : "?"));
    grid.style.aspectRatio = "1 / " + (depth < 3 ? .75 : .9);
    grid.replaceChildren(root, ...rows, ...buttons.values());
    show();
  };
  const spot = (i, j) => "position: absolute; padding: 0; min-height: 0; line-height: 1.15; font-size: " + (depth > 4 ? .7 : .8) + "em; left: " + (x(j) - halfWide()) + "%; top: "
    + (y(i) - halfTall()) + "%; width: " + 2*halfWide() + "%; height: " + 2*halfTall() + "%";

  // What the chosen node takes
  const show = () => {
    const [i, j] = node, entering = inputs(i, j), how = new Map(entering.map(([row, column, way]) => [at(row, column), way]));
    for (const [name, made] of buttons) {
      const own = name === at(i, j);
      made.setAttribute("aria-pressed", own);
      made.tabIndex = own ? 0 : -1;
      made.style.borderColor = own ? "currentColor" : colors[how.get(name)] || "color-mix(in srgb, currentColor 35%, transparent)";
      made.style.borderWidth = how.has(name) ? "3px" : "1px";
    }
    for (const {path, to, how} of lines) {
      const own = to === at(i, j);
      path.setAttribute("stroke", own ? colors[how] : "currentColor");
      path.setAttribute("stroke-width", own ? 4 : 1);
      path.setAttribute("opacity", own ? 1 : .35);
    }
    const refused = size % 2**depth;
    const told = refused ? [el("p", {}, el("strong", {}, "Refused. "), "The side " + size + " can't be halved " + depth + (depth > 1 ? " times" : " time")
        + " without a rest: it must be divisible by " + 2**depth + ".")] : tells(i, j, entering);
    said.replaceChildren(...told);
    whole.textContent = "The whole " + network + ": " + nodes().length + " nodes, " + many(weights()) + " weights to learn.";
    tell(figure, {network, size, width, depth, node: [i, j], inputs: entering.map(([row, column]) => [row, column]), refused: Boolean(refused),
                  taken: taken(i, j), channels: channels(i), weights: weights(), nodes: nodes().length});
  };
  const ways = {kept: row => "as it is", halved: row => "halved to " + shape(row, row + 1), raised: row => "raised to " + shape(row, row - 1)};
  const tells = (i, j, entering) => [
    el("p", {}, el("strong", {}, "X(" + i + ", " + j + "): " + shape(i)), j ? "" : i ? ", on the way down" : ", the first block"),
    el("p", {style: "margin-top: .5em"}, entering.length ? "It takes:" : "It takes the slice: 1 × " + size + " × " + size + "."),
    el("ul", {style: "margin: .2em 0; padding-left: 1.2em"}, ...entering.map(([row, column, how]) =>
      el("li", {}, "X(" + row + ", " + column + "): " + shape(row) + ", " + ways[how](row)))),
    el("p", {}, (entering.length > 1 ? "Side by side: " + entering.map(([row]) => channels(row)).join(" + ") + " = " + taken(i, j) + " channels. " : "")
      + "The block makes " + channels(i) + " channels of " + taken(i, j) + ", with " + many(block(i, j)) + " weights"
      + (j ? "; the transposed convolution that raises has " + many(raising(i, j)) + "." : "."))];
  const choose = (to, focus) => {
    node = to;
    show();
    if (focus) buttons.get(at(...to)).focus();
  };
  const walk = event => {
    const way = arrow(event, 1);
    if (!way) return;
    for (let steps = 1; steps <= depth; steps++) {        // the plain U-Net has empty places
      const to = [node[0] + steps*way[1], node[1] + steps*way[0]];
      if (exists(to)) return choose(to, true);
    }
  };

  build();
  return [el("div", {class: "covid-play-body"}, grid, el("div", {class: "covid-play-tools"}, kinds.root, said, key)),
          el("div", {style: "display: flex; flex-wrap: wrap; gap: .75rem 1.25rem; margin-top: .75rem"},
             ...[sizes, widths, depths].map(s => el("div", {style: "flex: 1 1 13rem"}, s.root))), whole];
});
