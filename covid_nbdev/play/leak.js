// The leak laboratory: 200 repetitions of one experiment. What validation reports, what is true, by the share of patients that leak.
start("leak", async (figure, data) => {
  const {shares, repetitions, predictors} = data;      // predictors: [name, what it does]
  const bytes = await inflate(data.scores), count = bytes.length/2;     // 16 bits, all low bytes first: thousandths
  const score = (predictor, share, which, repetition) => {
    const at = ((predictor*shares.length + share)*2 + which)*repetitions + repetition;
    return (bytes[at] + 256*bytes[count + at])/1000;
  };
  let predictor = 0, share = data.start, chosen = 0;

  const at = (sorted, part) => {
    const place = part*(sorted.length - 1), low = Math.floor(place);
    return sorted[low] + (place - low)*(sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
  };
  const summary = (p, s, which) => {
    const values = Array.from({length: repetitions}, (_, i) => score(p, s, which, i)), sorted = [...values].sort((a, b) => a - b);
    return {values, mean: values.reduce((sum, v) => sum + v, 0)/repetitions, middle: [at(sorted, .05), at(sorted, .95)]};
  };
  const all = predictors.map((_, p) => shares.map((_, s) => [0, 1].map(which => summary(p, s, which))));

  // The upper picture: each repetition is a dot, reported above and true below
  const top = .9, x = value => (1000*value/top).toFixed(1), rows = [70, 190];
  const colors = ["#d55e00", "#0072b2"], names = ["reported", "true"];
  const line = (color, width, more) => ["path", {fill: "none", stroke: color, "stroke-width": width, "vector-effect": "non-scaling-stroke", ...more}];
  const ruled = (d, height) => line("currentColor", 1, {opacity: .3, d: [0, .2, .4, .6, .8].map(v => d(v, height)).join("")});
  const [plot, , ...marks] = drawing(1000, 250, [ruled(v => "M" + x(v) + " 0V250"),
    ...colors.map(color => line(color, 5, {"stroke-linecap": "round", opacity: .75})), ...colors.map(() => line("currentColor", 2)),
    ...colors.map(() => line("currentColor", 4)), line("currentColor", 2.5)]);
  plot.setAttribute("viewBox", "-15 0 1030 250");
  plot.setAttribute("style", "display: block; width: 100%; height: 13rem; overflow: hidden; border-bottom: 1px solid");
  const height = (which, i) => rows[which] - 34 + 68*((i*.618034) % 1);       // no two neighbors at the same height
  const ticks = el("div", {"aria-hidden": "true", style: "position: relative; height: 1.4em; font-size: .85em"}, ...[0, .2, .4, .6, .8].map(v =>
    el("span", {style: "position: absolute; transform: translateX(-50%); left: " + (100*(Number(x(v)) + 15)/1030).toFixed(1) + "%"}, number(v, 1))));
  const labels = names.map((name, which) => el("span", {"aria-hidden": "true", style: "position: absolute; right: .4rem; font-size: .9em; "
    + "transform: translateY(-50%); font-weight: 600; top: " + (100*rows[which]/250) + "%"}, name));

  // The lower picture: all shares, mean and middle 90 %; it can be dragged
  const y = value => (200*(1 - value/top)).toFixed(1), column = s => 80 + 820*s/(shares.length - 1);
  const [map, , here, ...curves] = drawing(1000, 200, [line("currentColor", 1, {opacity: .3, d: [0, .2, .4, .6, .8].map(v => "M0 " + y(v) + "H1000").join("")}),
    line("currentColor", 22, {opacity: .18}), ...colors.map(color => line(color, 2)), ...colors.map((color, i) => line(color, 3, i ? {"stroke-dasharray": "7 4"} : {}))]);
  map.setAttribute("style", "display: block; width: 100%; height: 8rem; overflow: hidden; border-bottom: 1px solid; border-left: 1px solid");
  const pad = el("div", {style: "cursor: pointer; touch-action: pan-y pinch-zoom", pointerdown: event => point(event),
    pointermove: event => { if (event.buttons) point(event); }}, map);
  const point = event => {
    const box = pad.getBoundingClientRect(), where = 1000*(event.clientX - box.left)/box.width;
    share = between(0, Math.round((where - 80)/820*(shares.length - 1)), shares.length - 1);
    control.set(shares[share]);
    draw();
  };
  const under = el("div", {"aria-hidden": "true", style: "position: relative; height: 1.4em; font-size: .85em"}, ...shares.map((value, s) =>
    el("span", {style: "position: absolute; white-space: nowrap; transform: translateX(-50%); left: " + column(s)/10 + "%"}, value + " %")));

  const said = el("output", {"aria-live": "polite"}), one = el("output", {"aria-live": "polite"});
  const words = part => "mean " + number(part.mean, 2) + ", nine of ten from " + number(part.middle[0], 2) + " to " + number(part.middle[1], 2);
  const draw = () => {
    const parts = all[predictor][share], [reported, truth] = parts;
    parts.forEach((part, which) => {
      marks[which].setAttribute("d", part.values.map((v, i) => "M" + x(v) + " " + height(which, i).toFixed(1) + "h.01").join(""));
      const [from, to] = part.middle.map(x), below = rows[which] + 46;
      marks[2 + which].setAttribute("d", "M" + from + " " + (below - 6) + "v12M" + from + " " + below + "H" + to + "m0 -6v12");
      marks[4 + which].setAttribute("d", "M" + x(part.mean) + " " + (rows[which] - 38) + "v92");
      const side = which ? 9 : -9;
      curves[which].setAttribute("d", all[predictor].map((s, i) => s[which].middle.map(y)).map(([low, high], i) =>
        "M" + (column(i) + side) + " " + low + "V" + high).join(""));
      curves[2 + which].setAttribute("d", all[predictor].map((s, i) => (i ? "L" : "M") + (column(i) + side) + " " + y(s[which].mean)).join(""));
    });
    here.setAttribute("d", "M" + column(share) + " 0V200");
    const pair = parts.map(part => part.values[chosen]);
    marks[6].setAttribute("d", pair.map((v, which) => "M" + (Number(x(v)) - 9) + " " + (height(which, chosen) - 9).toFixed(1) + "h18v18h-18z").join(""));
    const higher = reported.values.filter((v, i) => v > truth.values[i]).length;
    said.textContent = shares[share] + " % of the validation patients leak. Reported: " + words(reported) + ". True: " + words(truth)
      + ". The report is higher than the truth in " + higher + " of " + repetitions + " repetitions.";
    one.textContent = "Repetition " + (chosen + 1) + " (square): reported " + number(pair[0], 2) + ", true " + number(pair[1], 2) + ".";
    tell(figure, {predictor: predictors[predictor][0], share: shares[share], repetition: chosen, higher, pair,
      reported: {mean: reported.mean, middle: reported.middle}, truth: {mean: truth.mean, middle: truth.middle}});
  };

  const step = shares[1] - shares[0];
  const control = slider("Share of leaked patients", {min: shares[0], max: shares[shares.length - 1], step, value: shares[share], unit: "%"},
    value => { share = shares.indexOf(value); draw(); });
  const who = radios("Predictor", predictors.map(([, text], p) => [String(p), text]), "0", value => { predictor = Number(value); draw(); });
  draw();
  const left = el("div", {style: "flex: 3 1 17rem; min-width: 0"},
    el("div", {style: "display: grid; grid-template-columns: 4.6rem minmax(0, 1fr)"},
      el("div", {style: "position: relative; height: 13rem"}, ...labels), el("div", {}, plot, ticks)),
    el("p", {style: "font-size: .85em; margin-bottom: .6rem"}, "lesion mIoU; a dot is a repetition, the long bar the mean, the bracket nine of ten"),
    pad, under, el("p", {style: "font-size: .85em"}, "across: share of leaked patients in %; line: mean, bar: nine of ten; solid: reported, dashed: true"));
  const right = el("div", {class: "covid-play-tools"}, control.root, who.root, said,
    el("div", {class: "covid-play-row"}, button("Another repetition", () => { chosen = (chosen + 1) % repetitions; draw(); }, {class: "covid-play-main"})), one);
  return [el("div", {class: "covid-play-body"}, left, right)];
});
