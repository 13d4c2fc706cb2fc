// A made-up method on the lesson's patients: its correlation, one pair of limits of agreement, and limits by size.
start("agreement", async (figure, data) => {
  const {truth, chance} = data, n = truth.length;
  const settings = {mean: data.mean, scatter: data.scatter, grows: data.grows};       // points, points, percent of the extent

  // As covid_nbdev.extent: [slope, value at 0] with the least squares, and both kinds of limits.
  const average = values => values.reduce((sum, value) => sum + value, 0)/values.length;
  const product = (a, b) => { const x = average(a), y = average(b); return a.reduce((sum, value, i) => sum + (value - x)*(b[i] - y), 0); };
  const line = (x, y) => { const slope = product(x, y)/product(x, x); return [slope, average(y) - slope*average(x)]; };
  const at = ([slope, start], x) => start + slope*x;
  const measure = () => {
    const measured = truth.map((t, i) => between(0, t + settings.mean + (settings.scatter + settings.grows/100*t)*chance[i], 100));
    const errors = measured.map((m, i) => m - truth[i]), size = measured.map((m, i) => (m + truth[i])/2);
    const mean = average(errors), sd = Math.sqrt(product(errors, errors)/(n - 1));
    const middle = line(size, errors), absolute = errors.map((e, i) => Math.abs(e - at(middle, size[i])));
    let spread = line(size, absolute);
    if (spread[1] < 0) spread = [size.reduce((sum, s, i) => sum + s*absolute[i], 0)/size.reduce((sum, s) => sum + s*s, 0), 0];
    const crossed = at(spread, Math.max(...size)) < -1e-9, end = sign => middle.map((value, i) => value + sign*2.46*spread[i]);
    return {...settings, measured, errors, size, correlation: product(truth, measured)/Math.sqrt(product(truth, truth)*product(measured, measured)),
            one: [mean - 1.96*sd, mean + 1.96*sd], lines: crossed ? null : [end(-1), end(1)]};
  };

  // Two pictures: measured over true, errors over size; lengths in the drawing's own units
  const left = 40, right = 330, top = 8, bottom = 228, blue = "#0072b2", orange = "#d55e00";
  const across = value => left + (right - left)*value/100;
  const upper = value => bottom - (bottom - top)*value/100, lower = value => bottom - (bottom - top)*(between(-60, value, 60) + 60)/120;
  const word = (x, y, anchor) => ["text", {x, y, "text-anchor": anchor, "font-size": 13, fill: "currentColor"}];
  const stroke = (color, width, dashes) => ["path", {fill: "none", stroke: color, "stroke-width": width, "stroke-dasharray": dashes || "none"}];
  const picture = (height, helper, marks, names) => {
    const dots = truth.map(() => ["circle", {r: 4, fill: blue}]);
    const [root, ...made] = drawing(350, 268, [["path", {d: "M" + left + " " + top + "V" + bottom + "H" + right, fill: "none", stroke: "currentColor"}],
      ["path", {d: helper, fill: "none", stroke: "currentColor", opacity: .5, "stroke-dasharray": "2 4"}], ...marks, ...dots,
      ...names.map(([, x, y, anchor]) => word(x, y, anchor))]);
    root.setAttribute("preserveAspectRatio", "xMidYMid meet");
    root.setAttribute("style", "display: block; width: 100%; height: auto");
    names.forEach(([text], i) => { made[2 + marks.length + n + i].textContent = text; });
    return {root, marks: made.slice(2, 2 + marks.length), dots: made.slice(2 + marks.length, 2 + marks.length + n)};
  };
  const axis = [["0", left, 245, "middle"], ["50", across(50), 245, "middle"], ["100", right, 245, "middle"]];
  const first = picture(upper, "M" + left + " " + bottom + "L" + right + " " + top, [],
    [...axis, ["0", left - 5, bottom, "end"], ["100", left - 5, top + 8, "end"], ["true, % of the lung", across(50), 264, "middle"], ["measured", left + 6, top + 8, "start"]]);
  const second = picture(lower, "M" + left + " " + lower(0) + "H" + right, [stroke("currentColor", 2, "7 4"), stroke(orange, 2.5)],
    [...axis, ["0", left - 5, lower(0) + 4, "end"], ["+60", left - 5, top + 8, "end"], ["\u221260", left - 5, bottom, "end"],
     ["size: mean of measured and true", across(50), 264, "middle"], ["error, points", left + 6, top + 8, "start"]]);
  const path = f => [...Array(101).keys()].map(x => {
    const most = 2*Math.min(x, 100 - x);                          // no share is below 0 or above 100
    return (x ? "L" : "M") + across(x).toFixed(1) + " " + lower(between(-most, f(x), most)).toFixed(1);
  }).join("");

  const said = el("output", {class: "covid-play-score", "aria-live": "polite"}), one = el("p", {}), two = el("p", {});
  const signed = value => (value > 0 ? "+" : "") + number(value, 1);
  const draw = () => {
    const found = measure();
    found.measured.forEach((value, i) => {
      [[first.dots[i], across(truth[i]), upper(value)], [second.dots[i], across(found.size[i]), lower(found.errors[i])]].forEach(([dot, x, y]) => {
        dot.setAttribute("cx", x.toFixed(1));
        dot.setAttribute("cy", y.toFixed(1));
      });
    });
    second.marks[0].setAttribute("d", found.one.map(value => path(() => value)).join(""));
    second.marks[1].setAttribute("d", found.lines ? found.lines.map(ends => path(x => at(ends, x))).join("") : "");
    said.textContent = "Correlation " + number(found.correlation, 2);
    one.textContent = "One pair (dashed): " + found.one.map(signed).join(" to ") + " points.";
    two.textContent = !found.lines ? "By size: the errors shrink with the size; one pair is the better choice." : "By size (orange): "
      + [10, 50].map(x => found.lines.map(ends => signed(at(ends, x))).join(" to ") + " at size " + x).join(", ") + ".";
    tell(figure, found);
  };
  const set = name => value => { settings[name] = value; draw(); };
  const sliders = [slider("Mean error", {min: -20, max: 20, step: 1, value: settings.mean, unit: "points"}, set("mean")),
    slider("Scatter everywhere", {min: 0, max: 15, step: 1, value: settings.scatter, unit: "points"}, set("scatter")),
    slider("Scatter that grows", {min: 0, max: 40, step: 1, value: settings.grows, unit: "% of the extent"}, set("grows"))];
  draw();
  const half = root => el("div", {style: "flex: 1 1 15rem; min-width: 0; max-width: 30rem"}, root);
  return [el("div", {class: "covid-play-body"}, half(first.root), half(second.root)),
    el("div", {class: "covid-play-tools"}, ...sliders.map(each => each.root), said, one, two)];
});
