// Six pairs of curves: training loss and validation loss, epoch by epoch. Which is this? Answer, then read why.
start("curves", async (figure, data) => {
  const {pairs, top, floor} = data, epochs = pairs[0].train.length;
  const kinds = {      // [answer, hint, why and what to do]
    healthy: ["healthy", "Is there anything here that has to be mended?",
      "Both losses fall and settle, and the gap is small and constant. A small gap is no overfitting."],
    overfitting: ["overfitting", "What does the validation loss do in the second half, while the training loss falls?",
      "The training loss goes on to zero, the validation loss turns and rises. Keep the epoch of the lowest validation loss. Then more patients, or augmentation."],
    underfitting: ["underfitting", "Compare where both lines end with the dotted line.",
      "Both end high and close together, near the loss of one who knows only how frequent each class is. Train longer, take a larger network or another rate, or look for an error in the loop. More patients won't help."],
    rate: ["learning rate too high", "Look at the training loss alone: is it a quiet line?",
      "The training loss itself jumps, and the validation loss with it. Lower the rate by a factor of 3 to 10."],
    leak: ["validation easier than training, or a leak", "Which line is the lower one, from the first epoch on?",
      "The validation loss is the lower one all the way. Its slices are easier, or slices of the same patients are on both sides. Augmentation of the training slices alone can do it, too. Check the split first."],
    small: ["validation set too small", "One line is quiet, the other is not. Which?",
      "The training loss is quiet, the validation loss jumps around a good level: few slices measure badly. The best epoch of these is the best of many noisy numbers."]};
  const names = Object.keys(kinds);
  const tries = pairs.map(() => 0), solved = pairs.map(() => "");       // "": open, "found": by the reader, "shown": on demand
  let now = 0, epoch = epochs;

  // A pair as two lines. Widths stay the same however the picture is stretched.
  const line = values => values.map((value, i) =>
    (i ? "L" : "M") + (1000*i/(epochs - 1)).toFixed(1) + " " + (600*(1 - Math.min(value, top)/top)).toFixed(1)).join("");
  const thick = {fill: "none", "vector-effect": "non-scaling-stroke", "stroke-linejoin": "round"};
  const styles = [{...thick, stroke: "#0072b2", "stroke-width": 2.5}, {...thick, stroke: "#d55e00", "stroke-width": 2.5, "stroke-dasharray": "7 4"}];
  const dots = {...thick, stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": "2 4"};
  const curves = pair => [["path", {...styles[0], d: line(pair.train)}], ["path", {...styles[1], d: line(pair.valid)}],
                          ["path", {...dots, d: line(Array(epochs).fill(floor))}]];
  const framed = (root, height) => {
    root.setAttribute("viewBox", "-15 -15 1030 630");
    root.setAttribute("style", "display: block; width: 100%; height: " + height + "; overflow: hidden; border-left: 1px solid; border-bottom: 1px solid");
    return root;
  };

  // The large picture, with a line at the chosen epoch
  const [plot, mark, train, valid] = drawing(1000, 600, [
    ["path", {...thick, stroke: "currentColor", "stroke-width": 1, opacity: .6}], ...curves(pairs[0])]);
  framed(plot, "15rem");
  const canvas = el("div", {style: "cursor: crosshair; touch-action: pan-y pinch-zoom", pointermove: event => point(event), pointerdown: event => point(event)}, plot);
  const point = event => {
    const box = canvas.getBoundingClientRect();
    epoch = chosen.set(between(1, Math.round(1 + (epochs - 1)*((event.clientX - box.left)/box.width*1030 - 15)/1000), epochs));
    read();
  };
  const chosen = slider("Epoch", {min: 1, max: epochs, step: 1, value: epoch, unit: "of " + epochs}, value => { epoch = value; read(); });
  const reading = el("output", {"aria-live": "polite"});
  const read = () => {
    const pair = pairs[now], x = (1000*(epoch - 1)/(epochs - 1)).toFixed(1);
    mark.setAttribute("d", "M" + x + " 0V600");
    reading.textContent = "Epoch " + epoch + ": training loss " + number(pair.train[epoch - 1], 2)
      + ", validation loss " + number(pair.valid[epoch - 1], 2) + ".";
    tell(figure, {pair: now, epoch, tries: tries.slice(), solved: solved.slice()});
  };
  const sample = (style, text) => {
    const [root] = drawing(40, 10, [["path", {...style, d: "M0 5H40"}]]);
    root.setAttribute("style", "width: 2.5rem; height: .6rem; overflow: hidden; margin-right: .4rem");
    return el("span", {style: "white-space: nowrap"}, root, text);
  };
  const legend = el("div", {class: "covid-play-row", style: "gap: .2rem 1rem; font-size: .9em"}, sample(styles[0], "training loss"),
    sample(styles[1], "validation loss"), sample(dots, "knows only how frequent each class is"), el("span", {}, "across: epochs 1 to " + epochs + "; up: loss, 0 to " + number(top, 1)));

  // The gallery
  const labels = pairs.map(() => el("span", {}));
  const small = pairs.map((pair, i) => {
    const [root] = drawing(1000, 600, curves(pair));
    const made = button("", () => show(i), {style: "min-width: 0; padding: .3rem"});
    made.append(framed(root, "3.2rem"), labels[i]);
    return made;
  });
  const gallery = el("div", {role: "group", "aria-label": "The six pairs", keydown: event => {
    const way = arrow(event, 1);
    if (!way) return;
    show((now + way[0] + 3*way[1] + pairs.length) % pairs.length);
    small[now].focus();
  }, style: "display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .4rem"}, ...small);

  // The question
  const task = el("p", {"aria-live": "polite"}), verdict = el("output", {"aria-live": "polite"}), score = el("p", {});
  const choices = names.map(name => button(kinds[name][0], () => answer(name), {style: "text-align: left"}));
  const asked = el("fieldset", {}, el("legend", {}, "Which is this?"), el("div", {class: "covid-play-row"}, ...choices));
  const reveal = button("Show the answer", () => { if (!solved[now]) solved[now] = "shown"; explain(""); });
  const next = button("Next pair", () => { show((now + 1) % pairs.length); small[now].focus(); }, {class: "covid-play-main"});
  const answer = name => {
    const right = pairs[now].name;
    if (!solved[now]) tries[now]++;
    if (name !== right) { verdict.textContent = "Not \u201c" + kinds[name][0] + "\u201d. " + kinds[right][1]; return state(); }
    if (!solved[now]) solved[now] = "found";
    explain("Right. ");
  };
  const explain = start => {
    const [text, , why] = kinds[pairs[now].name];
    verdict.textContent = start + "Pair " + (now + 1) + ": " + text + ". " + why;
    state();
  };
  const state = () => {
    small.forEach((made, i) => {
      made.setAttribute("aria-pressed", String(i === now));
      labels[i].textContent = "pair " + (i + 1) + (solved[i] ? " \u2713" : "");
    });
    choices.forEach((made, i) => made.setAttribute("aria-pressed", String(solved[now] !== "" && names[i] === pairs[now].name)));
    const found = solved.filter(how => how === "found").length, first = solved.filter((how, i) => how === "found" && tries[i] === 1).length;
    score.textContent = found + " of " + pairs.length + " found, " + first + " at the first try.";
    read();
  };
  const show = i => {
    now = i;
    task.textContent = "Pair " + (i + 1) + " of " + pairs.length + ": look at where both losses end, at the gap, and at the noise.";
    train.setAttribute("d", line(pairs[i].train));
    valid.setAttribute("d", line(pairs[i].valid));
    if (solved[i]) explain(""); else { verdict.textContent = ""; state(); }
  };

  show(0);
  const left = el("div", {style: "flex: 3 1 17rem; min-width: 0; display: flex; flex-direction: column; gap: .5rem"},
    canvas, legend, chosen.root, reading, gallery);
  const right = el("div", {class: "covid-play-tools"}, asked, verdict, el("div", {class: "covid-play-row"}, reveal, next), score);
  return [el("div", {class: "covid-play-task"}, task), el("div", {class: "covid-play-body"}, left, right)];
});
