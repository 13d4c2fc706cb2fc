// What covid_predict printed, before one looks at the picture: believe it or not?
start("believe", async (figure, data) => {
  const {rows, columns, colors} = data, pixels = rows*columns;
  const cases = await Promise.all(data.cases.map(async one => ({...one, gray: await inflate(one.gray), labels: await inflate(one.labels), answer: null})));
  let shown = 0;

  const canvas = el("canvas", {width: columns, height: rows, role: "img", class: "covid-play-paper"});
  const context = canvas.getContext("2d");
  const line = el("p", {style: "font-family: monospace; overflow-wrap: anywhere"}), verdict = el("output", {class: "covid-play-task", "aria-live": "polite"});
  const score = el("p", {});
  const paint = () => {
    const one = cases[shown], image = context.createImageData(columns, rows);
    for (let i = 0; i < pixels; i++) {
      const color = one.answer === null ? [90, 90, 90] : one.labels[i] < 2 ? colors[one.labels[i]] : null;
      for (let k = 0; k < 3; k++) image.data[4*i + k] = one.answer === null ? 90 : color ? .55*color[k] + .45*one.gray[i] : one.gray[i];
      image.data[4*i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    canvas.setAttribute("aria-label", one.answer === null ? "The picture is hidden until you decide." : one.why);
  };
  const draw = () => {
    const one = cases[shown], done = cases.filter(one => one.answer !== null), right = done.filter(one => one.answer === one.sound).length;
    line.textContent = "$ covid_predict " + one.name + "\n" + one.line;
    line.style.whiteSpace = "pre-wrap";
    verdict.textContent = one.answer === null ? "Do you believe this line?" : (one.answer === one.sound ? "Yes, you were right. " : "No. ") + one.why;
    score.textContent = done.length ? right + " of " + done.length + " right." : "The line is all you get: decide, then see the picture.";
    for (const one of [believe, doubt]) one.disabled = cases[shown].answer !== null;
    which.choose(String(shown));
    paint();
    tell(figure, {shown, answers: cases.map(one => one.answer), right});
  };
  const answer = value => () => { cases[shown].answer = value; draw(); next.focus(); };
  const believe = button("I believe it", answer(true)), doubt = button("I don't", answer(false));
  const next = button("Next case", () => { shown = (shown + 1) % cases.length; draw(); }, {class: "covid-play-main"});
  const which = radios("Case", cases.map((_, i) => [String(i), String(i + 1)]), "0", value => { shown = Number(value); draw(); });
  which.root.classList.add("covid-play-row");
  draw();
  return [verdict, el("div", {class: "covid-play-body"}, el("div", {class: "covid-play-stage", style: "max-width: 22rem"}, canvas),
    el("div", {class: "covid-play-tools"}, line, el("div", {class: "covid-play-row"}, believe, doubt, next), score, which.root,
      el("p", {}, "Blue: ground glass. Orange: consolidation. Computed patients. Not for diagnosis.")))];
});
