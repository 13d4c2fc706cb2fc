// The same predictions under every convention: which classes count, what an absent class scores, what is averaged first.
start("many_scores", async (figure, data) => {
  const {slices, rows, columns, classes} = data, [yellow, red, green] = data.colors, k = classes.length, n = rows*columns;
  const pairs = await inflate(data.pairs);                       // true class * k + predicted class, slice by slice
  const matrices = Array.from({length: slices}, (_, s) => {
    const counts = new Array(k*k).fill(0);
    for (let i = s*n; i < (s + 1)*n; i++) counts[pairs[i]]++;
    return counts;
  });
  let counted = classes.map((_, c) => c), absent = "left out", batch = slices;

  // As covid_nbdev.metrics counts. `null` where no chosen class is left to average.
  const mean = values => values.length ? values.reduce((sum, value) => sum + value, 0)/values.length : null;
  const miou = (group, chosen, rule) => {
    const sum = group.reduce((a, b) => a.map((value, i) => value + b[i]));
    const ious = chosen.map(c => {
      let truth = 0, predicted = 0;
      for (let other = 0; other < k; other++) { truth += sum[c*k + other]; predicted += sum[other*k + c]; }
      if (rule === "left out" && !truth) return null;
      const hits = sum[c*k + c], union = truth + predicted - hits;
      return union ? hits/union : 1;
    });
    return mean(ious.filter(value => value !== null));
  };
  const batches = size => Array.from({length: Math.ceil(slices/size)}, (_, b) => matrices.slice(b*size, (b + 1)*size));
  const score = (chosen, rule, size) => mean(batches(size).map(group => miou(group, chosen, rule)).filter(value => value !== null));

  // All conventions there are
  const sizes = [slices, ...[1, 2, 4, 8, 16, 24].filter(size => size < slices)], rules = ["left out", "1 where in neither"];
  const subsets = Array.from({length: 2**k - 1}, (_, s) => classes.map((_, c) => c).filter(c => s + 1 >> c & 1));
  const every = subsets.flatMap(chosen => rules.flatMap(rule => sizes.map(size => ({chosen, rule, size, value: score(chosen, rule, size)}))))
    .filter(way => way.value !== null).sort((a, b) => a.value - b.value);
  const lines = every.map(way => "M" + (1000*way.value).toFixed(1) + " 14V46").join("");
  const [axis, , here] = drawing(1000, 60, [["path", {d: lines, stroke: "currentColor", "stroke-width": 2, opacity: .35}],
                                            ["path", {stroke: "#d55e00", "stroke-width": 9}]]);
  const ticks = [0, .25, .5, .75, 1].map(value => el("span", {style: "left: " + (3 + 94*value) + "%"}, number(value, 2)));
  axis.setAttribute("viewBox", "-32 0 1064 60");                 // room for the labels at both ends

  // The slices, drawn in the deck's colors as far as their classes count
  const canvases = matrices.map(() => el("canvas", {width: columns, height: rows, "aria-hidden": "true"}));
  const light = [1, 1, .6, .35], uncounted = [[150, 150, 150], [190, 190, 190], [90, 90, 90], [35, 35, 35]];
  const paint = () => {
    const on = classes.map((_, c) => counted.includes(c)), total = [0, 0, 0], colors = new Uint8ClampedArray(4*k*k);
    for (let pair = 0; pair < k*k; pair++) {             // what a pixel looks like depends on its two classes alone
      const truth = Math.floor(pair/k), predicted = pair % k, count = matrices.reduce((sum, counts) => sum + counts[pair], 0);
      let rgb = uncounted[truth];
      if (truth === predicted) {
        if (on[truth]) { rgb = yellow.map(v => v*light[truth]); total[0] += count; }
      } else {                                         // missed in one class, and false in another: either may count, or both
        if (on[predicted]) { rgb = red; total[1] += count; }
        if (on[truth]) { total[2] += count; if (!on[predicted] || truth < 2 && predicted > 1) rgb = green; }      // a lost lesion shows
      }
      colors.set([...rgb, 255], 4*pair);
    }
    const whole = new Uint32Array(colors.buffer);
    canvases.forEach((canvas, s) => {
      const context = canvas.getContext("2d"), picture = context.createImageData(columns, rows), pixels = new Uint32Array(picture.data.buffer);
      for (let i = 0; i < n; i++) pixels[i] = whole[pairs[s*n + i]];
      context.putImageData(picture, 0, 0);
    });
    return total;
  };

  // The controls
  const boxes = classes.map((name, c) => el("input", {type: "checkbox", checked: true, change: () => {
    counted = classes.map((_, other) => other).filter(other => boxes[other].checked);
    draw();
  }}));
  const which = el("fieldset", {}, el("legend", {}, "Classes that count"),
    ...classes.map((name, c) => el("label", {}, boxes[c], el("span", {}, name.replace(/_/g, " ")))));
  const rule = radios("A class absent from the truth", [["left out", "is left out"],
    ["1 where in neither", "scores 1 if nothing of it is predicted, else 0"]], absent, value => { absent = value; draw(); });
  const how = radios("What is averaged", sizes.map(size => [size, size === slices ? "nothing: counts pooled over the set"
    : size === 1 ? "images" : "batches of " + size]), batch, value => { batch = value; draw(); });
  const set = way => () => {
    counted = way.chosen;
    absent = way.rule;
    batch = way.size;
    boxes.forEach((box, c) => { box.checked = counted.includes(c); });
    rule.choose(absent);
    how.choose(batch);
    draw();
  };
  const kindest = button("Kindest", set(every[every.length - 1])), harshest = button("Harshest", set(every[0]));
  const first = button("This package's", set({chosen: classes.map((_, c) => c), rule: "left out", size: slices}));

  const said = el("output", {class: "covid-play-score", "aria-live": "polite"}), count = el("p", {});
  const grid = el("div", {class: "covid-play-slices", role: "img",
    "aria-label": slices + " slices in their batches. Yellow: prediction and truth agree; red: predicted, not true; green: true, not predicted."});
  const draw = () => {
    const value = counted.length ? score(counted, absent, batch) : null, total = paint();
    said.textContent = "mIoU " + (value === null ? "\u2013: nothing to average" : number(value, 3));
    here.setAttribute("d", value === null ? "" : "M" + (1000*value).toFixed(1) + " 2V58");
    count.textContent = "Yellow: agreed, " + total[0] + " px. Red: predicted, not true, " + total[1]
      + " px. Green: true, not predicted, " + total[2] + " px. Where both classes of a wrong pixel count, it is in both numbers"
      + " (drawn green where a lesion is lost, else red).";
    grid.replaceChildren(...batches(batch).map((group, b) => {
      const value = counted.length ? miou(group, counted, absent) : null;
      const across = Math.min(batch, 4);           // of the four columns that all slices share
      const style = "grid-column: span " + across + "; grid-template-columns: repeat(" + across + ", minmax(0, 1fr))";
      return el("div", {class: "covid-play-batch", style}, el("span", {}, value === null ? "nothing" : number(value, 3)),
                ...canvases.slice(b*batch, (b + 1)*batch));
    }));
    tell(figure, {classes: counted, absent, batch, score: value});
  };

  draw();
  const range = "The " + every.length + " ways to count these same pixels give " + number(every[0].value, 3) + " to "
    + number(every[every.length - 1].value, 3) + ". Set to:";
  return [el("div", {class: "covid-play-body"}, grid, el("div", {class: "covid-play-tools"}, said,
    el("div", {class: "covid-play-scale"}, axis, el("div", {"aria-hidden": "true"}, ...ticks)),
    el("p", {}, range), el("div", {class: "covid-play-row"}, kindest, harshest, first), which, rule.root, how.root, count,
    el("p", {}, "Teaching material: not for diagnosis.")))];
});
