// One pixel: four logits, the probabilities that softmax makes of them, the loss, and its gradient p - y; softmax once or twice.
start("softmax", async (figure, data) => {
  const {classes, colors} = data, k = classes.length;
  let logits = data.logits.slice(), truth = data.truth, twice = false;

  // As in the lesson: softmax; the loss is minus the logarithm of the true class's probability.
  const softmax = values => {
    const highest = Math.max(...values), powers = values.map(value => Math.exp(value - highest));
    const sum = powers.reduce((a, b) => a + b);
    return powers.map(power => power/sum);
  };
  const compute = () => {
    const once = softmax(logits), p = twice ? softmax(once) : once;
    const off = p.map((value, c) => value - (c === truth));                    // p - y: the gradient of what went into the last softmax
    const mean = once.reduce((sum, value, c) => sum + value*off[c], 0);
    return {p, loss: -Math.log(p[truth]), gradient: twice ? once.map((value, c) => value*(off[c] - mean)) : off};
  };

  // A bar from `zero` to a value's place, both in percent of the track
  const bar = color => {
    const fill = el("div", {style: "position: absolute; top: 0; bottom: 0; background: " + color});
    const track = el("div", {"aria-hidden": "true", style: "position: relative; height: .9rem; border: 1px solid currentColor"}, fill);
    return {track, show: (from, to) => {
      fill.style.left = Math.min(from, to) + "%";
      fill.style.width = Math.abs(to - from) + "%";
    }};
  };
  const numbers = "flex: 0 0 4.2rem; text-align: right; font-variant-numeric: tabular-nums";
  const rows = classes.map((name, c) => {
    const probability = bar(colors[c]), slope = bar(colors[c]), p = el("span", {style: numbers}), g = el("span", {style: numbers});
    slope.track.append(el("div", {style: "position: absolute; top: 0; bottom: 0; left: 50%; border-left: 2px solid currentColor"}));
    for (const track of [probability.track, slope.track]) track.style.flex = "1 1 4rem";
    const title = el("span", {style: "font-weight: 600"});
    const line = (word, track, said) => el("div", {style: "display: flex; gap: .4rem; align-items: center"},
      el("span", {style: "flex: 0 0 5.6rem"}, word), track, said);
    const root = el("div", {style: "margin-bottom: .5rem"}, title, line("probability", probability.track, p), line("gradient", slope.track, g));
    return {root, show: (value, way) => {
      title.textContent = name + (c === truth ? " \u2013 the true class" : "");
      probability.show(0, 100*value);
      slope.show(50, 50 + 50*way);
      p.textContent = number(value, 3);
      g.textContent = Math.abs(way) < .00005 ? "0.0000" : (way > 0 ? "+" : "") + number(way, 4);
    }};
  });

  // The controls: sliders in tenths, since a step of descent gives no whole numbers
  const sliders = classes.map((name, c) => {
    const said = el("span", {"aria-hidden": "true"});
    const input = el("input", {type: "range", min: -10, max: 10, step: .1, value: logits[c], input: () => {
      logits[c] = Number(input.value);
      draw();
    }});
    return {root: el("label", {class: "covid-play-slider"}, el("span", {}, "Logit of " + name), said, input), show: () => {
      input.value = logits[c];
      said.textContent = number(logits[c], 1);
      input.setAttribute("aria-valuetext", said.textContent);
    }};
  });
  const which = radios("The true class", classes.map((name, c) => [c, name]), truth, value => { truth = value; draw(); });
  const how = radios("Softmax", [[false, "once, as it should be"], [true, "twice: the bug"]], twice, value => { twice = value; draw(); });
  const set = (values, c) => () => {
    logits = values.slice();
    truth = c;
    which.choose(truth);
    draw();
  };
  const presets = [button("Undecided", set([0, 0, 0, 0], 0)), button("Sure and right", set([8, 0, 0, 0], 0)), button("Sure and wrong", set([8, 0, 0, 0], 3))];
  const add = button("Add 1 to all", () => { logits = logits.map(value => value + 1); draw(); });
  const down = button("Ten steps down", () => {
    for (let step = 0; step < 10; step++) {
      const {gradient} = compute();
      logits = logits.map((value, c) => value - gradient[c]);
    }
    draw();
  }, {class: "covid-play-main"});

  const loss = el("output", {class: "covid-play-score", "aria-live": "polite"}), words = el("p", {});
  const draw = () => {
    logits = logits.map(value => between(-10, value, 10));
    const {p, loss: value, gradient} = compute();
    rows.forEach((row, c) => row.show(p[c], gradient[c]));
    sliders.forEach(one => one.show());
    loss.textContent = "Loss " + number(value, 3);
    words.textContent = twice ? "No logits bring it below 0.744: the second softmax sees numbers from 0 to 1 alone."
      : "\u2212ln of the true class's probability, " + number(p[truth], 3) + ".";
    tell(figure, {logits, truth, twice, p, loss: value, gradient});
  };

  draw();
  const shown = el("div", {style: "flex: 3 1 17rem; min-width: 0"}, loss, words, el("div", {style: "margin-top: .6rem"}, ...rows.map(row => row.root)));
  return [el("div", {class: "covid-play-body"}, shown, el("div", {class: "covid-play-tools"}, ...sliders.map(one => one.root),
    el("div", {class: "covid-play-row"}, ...presets, add), el("div", {class: "covid-play-row"}, down), which.root, how.root,
    el("p", {}, "Ten steps of gradient descent with rate 1. Teaching material: not for diagnosis.")))];
});
