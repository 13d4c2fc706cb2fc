// Errors of a network, patient by patient, at any threshold of its lesion probability; beside it, a rival without one.
start("errors", async (figure, data) => {
  const {rows, columns, patients, rival} = data, n = rows*columns, [yellow, red, green] = data.colors;
  const [gray, probability, truth, other] = await Promise.all([data.gray, data.probability, data.truth, data.other].map(inflate));
  const starting = 50;
  let now = data.start, percent = starting, who = "network", x = columns >> 1, y = rows >> 1;

  // In hundredths of a percent all numbers are whole: a pixel is lesion where its byte is above the threshold
  const lesion = (i, at) => who === "network" ? 100*probability[i] > 255*at : other[i] === 1;
  const count = at => {
    let both = 0, wrong = 0, missed = 0;
    for (let i = now*n; i < (now + 1)*n; i++) {
      const found = lesion(i, at);
      if (found && truth[i]) both++; else if (found) wrong++; else if (truth[i]) missed++;
    }
    const share = (part, all) => all ? part/all : null;
    return {both, wrong, missed, iou: share(both, both + wrong + missed), precision: share(both, both + wrong), recall: share(both, both + missed)};
  };
  const said = value => value === null ? "\u2013" : number(value, 2);

  // The picture
  const canvas = el("canvas", {width: columns, height: rows, tabindex: 0, role: "application", style: "image-rendering: pixelated",
    "aria-label": "The slice with its errors. Arrow keys move the circle by one pixel, with Shift by eight.",
    pointermove: event => point(...place(canvas, event)), pointerdown: event => point(...place(canvas, event)),
    keydown: event => { const way = arrow(event, 8); if (way) point(x + way[0], y + way[1]); }});
  const context = canvas.getContext("2d"), picture = context.createImageData(columns, rows);
  const ring = el("div", {class: "covid-play-cross"}), here = el("output", {"aria-live": "polite"});
  const stage = el("div", {class: "covid-play-stage"}, canvas, ring);
  const paint = () => {
    for (let p = 0; p < n; p++) {
      const i = now*n + p, found = who !== "nobody" && lesion(i, percent), true_ = truth[i] && who !== "nobody";
      const over = found && true_ ? yellow : found ? red : true_ ? green : null;
      for (let c = 0; c < 3; c++) picture.data[4*p + c] = over ? .4*gray[i] + .6*over[c] : gray[i];
      picture.data[4*p + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
  };
  const point = (toX, toY) => {
    x = between(0, Math.floor(toX), columns - 1);
    y = between(0, Math.floor(toY), rows - 1);
    const i = now*n + y*columns + x;
    ring.style.left = 100*(x + .5)/columns + "%";
    ring.style.top = 100*(y + .5)/rows + "%";
    here.textContent = "In the circle: " + number(100*probability[i]/255) + " % lesion, says the network. True: " + (truth[i] ? "lesion." : "no lesion.");
    share();
  };

  // The score at every threshold, as a curve with the present one
  const [curve, line, mark] = drawing(1000, 100, [
    ["path", {fill: "none", stroke: "#0072b2", "stroke-width": 2.5, "vector-effect": "non-scaling-stroke"}],
    ["path", {stroke: "#d55e00", "stroke-width": 2.5, "vector-effect": "non-scaling-stroke"}]]);
  curve.setAttribute("style", "border-left: 1px solid; border-bottom: 1px solid");
  const best = el("p", {});
  const trace = () => {
    const kept = who;
    who = "network";
    const values = Array.from({length: 99}, (_, t) => count(t + 1).iou || 0), top = values.indexOf(Math.max(...values));
    who = kept;
    line.setAttribute("d", values.map((value, t) => (t ? "L" : "M") + (10*(t + 1)) + " " + (100 - 100*value).toFixed(1)).join(""));
    best.textContent = "IoU (0 to 1) at each threshold. Highest on this slice: " + number(values[top], 2) + " at " + (top + 1)
      + " %. Nobody could know that beforehand.";
  };

  // The controls
  const chosen = radios("Patient, by its place among the " + data.of, patients.map((text, i) => [i, text]), now, value => { now = value; trace(); draw(); });
  const shown = radios("Show", [["network", "the network"], ["rival", rival], ["nobody", "the slice alone"]], who, value => { who = value; draw(); });
  const threshold = slider("Lesion, if its probability is above", {min: 1, max: 99, step: 1, value: percent, unit: "%"}, value => { percent = value; draw(); });
  const reset = button("Back to " + starting + " %", () => { percent = threshold.set(starting); draw(); });
  const verdict = el("output", {"aria-live": "polite"}), scale = el("div", {class: "covid-play-scale"}, curve,
    el("div", {"aria-hidden": "true"}, ...[1, 25, 50, 75, 99].map(t => el("span", {style: "left: " + between(4, t, 94) + "%"}, t + " %"))));
  const share = () => tell(figure, {patient: now, who, percent, x, y, ...(who === "nobody" ? {} : count(percent))});
  const draw = () => {
    const found = count(percent);
    verdict.textContent = who === "nobody" ? "Look first: where would you draw?"
      : "Yellow: both, " + found.both + " px. Red: predicted, not true, " + found.wrong + " px. Green: true, not predicted, " + found.missed
        + " px. Precision " + said(found.precision) + ", recall " + said(found.recall) + ", IoU " + said(found.iou) + ".";
    mark.setAttribute("d", who === "network" ? "M" + 10*percent + " 0V100" : "");
    threshold.root.querySelector("input").disabled = reset.disabled = who !== "network";
    paint();
    point(x, y);
  };

  trace();
  draw();
  return [el("div", {class: "covid-play-body"}, stage, el("div", {class: "covid-play-tools"}, verdict, here, threshold.root, reset,
    scale, best, shown.root, chosen.root, el("p", {}, "Both kinds of lesion count as one. Teaching material: not for diagnosis.")))];
});
