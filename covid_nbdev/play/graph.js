// A small graph of operations: values forward, gradients backward, one node a step; each node says which rule gave its gradient.
start("graph", async (figure, data) => {
  // What an operation computes, how fast that rises with each input, and the rule in words
  const passes = "a sum passes the gradient on", other = "a product passes it on times the other factor";
  const operations = {
    "+": {value: (a, b) => a + b, slopes: () => [1, 1], rules: [passes, passes]},
    "\u2212": {value: (a, b) => a - b, slopes: () => [1, -1], rules: ["a difference passes it on", "what is subtracted gets it with the sign turned"]},
    "\u00d7": {value: (a, b) => a*b, slopes: (a, b) => [b, a], rules: [other, other]},
    "/": {value: (a, b) => a/b, slopes: (a, b) => [1/b, -a/(b*b)],
          rules: ["what is divided gets it times 1/divisor", "the divisor gets it times \u2212quotient/divisor"]},
    "square": {value: a => a*a, slopes: a => [2*a], rules: ["a square passes it on times twice its input"]},
    "exp": {value: Math.exp, slopes: a => [Math.exp(a)], rules: ["exp passes it on times its own value"]},
    "log": {value: Math.log, slopes: a => [1/a], rules: ["log passes it on times 1/input"]},
    "minus": {value: a => -a, slopes: () => [-1], rules: ["minus turns the sign"]},
    "relu": {value: a => Math.max(a, 0), slopes: a => [a > 0 ? 1 : 0], rules: ["relu passes it on where its input is above 0, and nothing elsewhere"]},
  };
  // Each node: name, column, row, operation, its inputs. Inputs come first, so a node's place in the list is an order to compute in.
  const graphs = {
    "One weight": {formula: "p = w\u00b7x + b, loss = (p \u2212 y)\u00b2", nodes: [["w", 0, 0], ["x", 1, 0], ["m", .5, 1, "\u00d7", "w", "x"],
      ["b", 1.6, 1], ["p", 1, 2, "+", "m", "b"], ["y", 2, 2], ["r", 1.5, 3, "\u2212", "p", "y"], ["loss", 1.5, 4, "square", "r"]]},
    "A value used twice": {formula: "loss = relu(a\u00b7(a + c))", nodes: [["a", 0, 0], ["c", 2, 0], ["s", 1.5, 1, "+", "a", "c"],
      ["m", .6, 2, "\u00d7", "a", "s"], ["loss", .6, 3, "relu", "m"]]},
    "Cross-entropy": {formula: "logits u and v, true class u: loss = \u2212log(exp u / (exp u + exp v))", nodes: [["u", .2, 0], ["v", 1.8, 0],
      ["eu", .2, 1, "exp", "u"], ["ev", 1.8, 1, "exp", "v"], ["sum", 1.4, 2, "+", "eu", "ev"], ["p", .6, 3, "/", "eu", "sum"],
      ["log p", .6, 4, "log", "p"], ["loss", .6, 5, "minus", "log p"]]},
  };
  const short = value => Number.isInteger(value) ? number(value) : number(value, 3);
  let name = Object.keys(graphs)[0], starts = {...data.start}, steps = 0, chosen = null;

  // Forward through the list; backward against it, `steps` nodes far
  const forward = from => {
    const values = {};
    for (const [node, , , operation, ...inputs] of graphs[name].nodes)
      values[node] = operation ? operations[operation].value(...inputs.map(input => values[input])) : from[node];
    return values;
  };
  const uses = (node, values) => graphs[name].nodes.flatMap(([user, , , operation, ...inputs]) => inputs.flatMap((input, i) =>
    input === node ? [{user, rule: operations[operation].rules[i], slope: operations[operation].slopes(...inputs.map(k => values[k]))[i]}] : []));
  const backward = values => {
    const gradients = {};
    for (const [node] of graphs[name].nodes.slice().reverse().slice(0, steps))
      gradients[node] = node === "loss" ? 1 : uses(node, values).reduce((sum, use) => sum + gradients[use.user]*use.slope, 0);
    return gradients;
  };
  const explain = (node, values, gradients) => {
    if (!(node in gradients)) return node + " = " + short(values[node]) + ". Its gradient is not known yet: what it goes into comes first.";
    if (node === "loss") return "grad of loss = 1. The start: when the loss rises by 1, the loss rises by 1.";
    const parts = uses(node, values), factor = value => value < 0 ? "(" + short(value) + ")" : short(value);
    const products = parts.map(use => factor(gradients[use.user]) + " \u00d7 " + factor(use.slope)).join(" + ");
    const rules = parts.map(use => "From " + use.user + ": " + use.rule + ".").join(" ");
    let text = "grad of " + node + " = " + products + " = " + short(gradients[node]) + ". " + rules;
    if (parts.length > 1) text += " It is used twice: both parts are added.";
    if (!(node in starts)) return text;
    const h = 1e-4, rise = forward({...starts, [node]: values[node] + h}).loss - values.loss;
    return text + " Check: raise " + node + " by 0.0001, and the loss " + (rise < 0 ? "falls" : "rises") + " " + number(Math.abs(rise)/h, 3) + " times as much.";
  };

  // The picture: lines below, nodes as buttons above
  const wide = 3, high = 6.8, tall = 4.4;      // columns; the height of a row and of a node, in em
  const board = el("div", {style: "position: relative; flex: 3 1 17rem; min-width: 0; max-width: 34rem; font-size: .85em"});
  const left = column => 100*(column + .5)/wide, middle = (row, end) => row*high + (end ? 0 : tall);
  let nodes = {}, lines = [], labels = [];
  const build = () => {
    const graph = graphs[name].nodes, rows = 1 + Math.max(...graph.map(([, , row]) => row));
    const at = Object.fromEntries(graph.map(([node, column, row]) => [node, [column, row]]));
    const edges = graph.flatMap(([user, , , , ...inputs]) => inputs.map(input => ({input, user})));
    const full = (rows - 1)*high + tall;
    const paths = edges.map(({input, user}) => ["path", {fill: "none", stroke: "currentColor", "vector-effect": "non-scaling-stroke",
      d: "M" + left(at[input][0]) + " " + middle(at[input][1]) + "L" + left(at[user][0]) + " " + middle(at[user][1], true)}]);
    const [root, ...drawn] = drawing(100, full, paths);
    root.setAttribute("style", "position: absolute; inset: 0; width: 100%; height: 100%");
    lines = drawn.map((path, i) => ({path, ...edges[i]}));
    labels = edges.map(({input, user}) => {
      const x = (left(at[input][0]) + left(at[user][0]))/2, y = (middle(at[input][1]) + middle(at[user][1], true))/2;
      const before = at[user][0] > at[input][0];       // beside the line, on its lower side
      return el("span", {"aria-hidden": "true", style: "position: absolute; line-height: 1.2; top: " + (y - .3) + "em; left: calc(" + x + "% "
        + (before ? "- .6em); transform: translateX(-100%)" : "+ .6em)")});
    });
    nodes = Object.fromEntries(graph.map(([node, column, row, operation]) => [node, button("", () => { chosen = node; draw(); }, {
      style: "position: absolute; width: 29%; height: " + tall + "em; left: " + (left(column) - 14.5) + "%; top: " + row*high
        + "em; padding: 0; line-height: 1.3; white-space: pre-line; font-variant-numeric: tabular-nums; border-style: " + (operation ? "solid" : "dashed")})]));
    board.style.height = full + "em";
    board.replaceChildren(root, ...labels, ...Object.values(nodes));
    const inputs = graph.filter(([, , , operation]) => !operation).map(([node]) => node);
    sliders.replaceChildren(...inputs.map(node => slider(node, {min: -3, max: 3, step: 1, value: starts[node], unit: ""},
      value => { starts[node] = value; draw(); }).root));
    formula.textContent = graphs[name].formula;
    draw();
  };

  // The controls
  const formula = el("p", {}), sliders = el("div", {}), said = el("output", {"aria-live": "polite", style: "min-height: 7.5em"});
  const which = radios("The graph", Object.keys(graphs).map(graph => [graph, graph]), name, value => { name = value; steps = 0; chosen = null; build(); });
  const go = to => () => { steps = between(0, to(), graphs[name].nodes.length); chosen = null; draw(); };
  const next = button("One step back", go(() => steps + 1), {class: "covid-play-main"});
  const all = button("All steps", go(() => graphs[name].nodes.length)), clear = button("Clear the gradients", go(() => 0));

  const draw = () => {
    const values = forward(starts), gradients = backward(values), order = graphs[name].nodes.map(([node]) => node).reverse();
    const shown = chosen || order[steps - 1] || null;
    for (const [node, , , operation] of graphs[name].nodes) {
      const title = operation ? node + "  (" + operation + ")" : node, known = node in gradients;
      nodes[node].textContent = title + "\n" + short(values[node]) + "\n" + (known ? "grad " + short(gradients[node]) : "grad ?");
      nodes[node].setAttribute("aria-pressed", node === shown);
      nodes[node].style.borderWidth = known ? "3px" : "1px";
    }
    lines.forEach(({path, input, user}, i) => {
      const passed = input in gradients, slope = uses(input, values).find(use => use.user === user).slope;
      path.setAttribute("stroke", passed ? "#d55e00" : "currentColor");
      path.setAttribute("stroke-width", passed ? 4 : 1.5);
      labels[i].textContent = passed ? "\u00d7 " + short(slope) : "";
    });
    next.disabled = all.disabled = steps === order.length;
    clear.disabled = !steps;
    said.textContent = shown ? explain(shown, values, gradients)
      : "The values are known, from the inputs (dashed) down to the loss. Step back: the gradient of the loss comes first.";
    tell(figure, {graph: name, values, gradients, steps, node: shown});
  };

  build();
  return [el("div", {class: "covid-play-body"}, board, el("div", {class: "covid-play-tools"}, which.root, formula, sliders,
    el("div", {class: "covid-play-row"}, next, all, clear), said))];
});
