// Early stopping, afterwards: on the finished history of a training the reader chooses the patience.
start("patience", async (figure, data) => {
  const {runs} = data, epochs = runs[0].loss.length;
  const left = 48, right = 410, losses = [12, 168], lesions = [196, 290];             // in the drawing's own units
  const every = runs.flatMap(run => run.loss), low = Math.log(Math.min(...every)), high = Math.log(Math.max(...every));
  const across = epoch => left + (right - left)*(epoch - 1)/(epochs - 1);
  const along = ([top, bottom], share) => (bottom - share*(bottom - top)).toFixed(1);
  const ofLoss = loss => along(losses, (Math.log(loss) - low)/(high - low)), ofLesions = miou => along(lesions, miou);
  const line = (values, height, first) => values.map((value, i) => (i ? "L" : "M") + across(first + i).toFixed(1) + " " + height(value)).join("");
  let group = runs[0].group, seed = runs[0].seed, patience = data.patience;

  // As covid_nbdev.train.fit ends: `patience` epochs after the best one. Counted from 1.
  const ended = (values, patience) => {
    let best = 0;
    for (let i = 0; i < values.length; i++) {
      if (values[i] < values[best]) best = i;
      if (i - best >= patience) return [i + 1, best + 1];
    }
    return [values.length, best + 1];
  };

  const curve = (color, later) => ["path", {fill: "none", stroke: color, "stroke-width": later ? 1.5 : 2.5, "stroke-dasharray": later ? "3 4" : "none"}];
  const ring = ["circle", {r: 7, fill: "none", stroke: "currentColor", "stroke-width": 2.5}];
  const word = (x, y, anchor) => ["text", {x, y, "text-anchor": anchor, "font-size": 13, fill: "currentColor"}];
  const ticks = [...new Set([1, ...[1, 2, 3].map(k => Math.round(k*epochs/3))])];
  const [picture, gray, , , lossSeen, lossLater, lesionSeen, lesionLater, stop, kept, keptToo, ...words] = drawing(420, 330, [
    ["path", {fill: "currentColor", opacity: .18}],
    ["path", {d: "M" + left + " " + losses[0] + "V" + losses[1] + "H" + right, fill: "none", stroke: "currentColor"}],
    ["path", {d: "M" + left + " " + lesions[0] + "V" + lesions[1] + "H" + right, fill: "none", stroke: "currentColor"}],
    curve("#d55e00"), curve("#d55e00", true), curve("#009e73"), curve("#009e73", true),
    ["path", {stroke: "currentColor", "stroke-width": 2.5}], ring, ring,
    word(left - 6, losses[0] + 8, "end"), word(left - 6, losses[1], "end"), word(left - 6, lesions[0] + 8, "end"), word(left - 6, lesions[1], "end"),
    ...ticks.map(epoch => word(across(epoch), 307, "middle")), word(right, 325, "end"),
    word(right, losses[0] + 8, "end"), word(right, lesions[0] + 8, "end")]);
  picture.setAttribute("preserveAspectRatio", "xMidYMid meet");
  picture.setAttribute("style", "display: block; width: 100%; height: auto");
  [number(Math.exp(high), 1), number(Math.exp(low), 2), "1", "0", ...ticks, "epoch", "validation loss", "lesion mIoU"]
    .forEach((text, i) => { words[i].textContent = text; });

  const said = el("output", {class: "covid-play-score", "aria-live": "polite"}), why = el("p", {}), whole = el("p", {});
  const draw = () => {
    const run = runs.find(run => run.group === group && run.seed === seed);
    const [last, best] = ended(run.loss, patience), [, atEnd] = ended(run.loss, Infinity);
    const part = (values, height) => [line(values.slice(0, last), height, 1), last < epochs ? line(values.slice(last - 1), height, last) : ""];
    const [a, b] = part(run.loss, ofLoss), [c, d] = part(run.lesions, ofLesions), highest = Math.max(...run.lr);
    [lossSeen, lossLater, lesionSeen, lesionLater].forEach((path, i) => path.setAttribute("d", [a, b, c, d][i]));
    gray.setAttribute("d", line(run.lr, lr => along(losses, .6*lr/highest), 1) + "V" + losses[1] + "H" + left + "Z");
    const x = across(last), y = Number(ofLoss(run.loss[last - 1]));
    stop.setAttribute("d", last < epochs ? "M" + (x - 6) + " " + (y - 6) + "l12 12m0 -12l-12 12M" + x + " " + losses[0] + "V" + lesions[1] : "");
    [[kept, ofLoss(run.loss[best - 1])], [keptToo, ofLesions(run.lesions[best - 1])]].forEach(([mark, height]) => {
      mark.setAttribute("cx", across(best));
      mark.setAttribute("cy", height);
    });
    said.textContent = "Keeps epoch " + best + ": lesion mIoU " + number(run.lesions[best - 1], 2);
    why.textContent = last < epochs ? "Patience " + patience + " stops after epoch " + last + " of " + epochs + ". The learning rate was then at "
      + number(100*run.lr[last - 1]/highest) + " % of its highest value." : "Patience " + patience + " never stops this run: all " + epochs + " epochs.";
    whole.textContent = "Without early stopping: epoch " + atEnd + ", lesion mIoU " + number(run.lesions[atEnd - 1], 2) + ".";
    tell(figure, {group, seed, patience, stopped: last, kept: best, whole: atEnd});
  };

  const groups = [...new Set(runs.map(run => run.group))], seeds = [...new Set(runs.map(run => run.seed))];
  const whichGroup = radios("Training", groups.map(value => [value, value]), group, value => { group = value; draw(); });
  const whichSeed = radios("Random start", seeds.map(value => [value, "seed " + value]), seed, value => { seed = value; draw(); });
  const move = slider("Patience", {min: 1, max: epochs, step: 1, value: patience, unit: "epochs"}, value => { patience = value; draw(); });
  draw();
  return [el("div", {class: "covid-play-body"}, el("div", {style: "flex: 3 1 17rem; min-width: 0; max-width: 36rem"}, picture),
    el("div", {class: "covid-play-tools"}, move.root, said, why, whole, ...(groups.length > 1 ? [whichGroup.root] : []), whichSeed.root,
      el("p", {}, "Cross and line: the end. Rings: the epoch that is kept. Dashes: what nobody sees then. Gray: the learning rate. Not for diagnosis.")))];
});
