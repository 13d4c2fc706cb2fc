// A thousand people and one test: what a positive result is worth, by how common the disease is.
start("predictive_value", async (figure, data) => {
  const people = 1000, across = 50, step = 20;                        // dots in rows of 50
  const settings = {ill: data.ill, sensitivity: data.sensitivity, specificity: data.specificity};
  let group = "all";

  // Whole people: found, missed, false alarms, rightly negative.
  const counts = () => {
    const {ill, sensitivity, specificity} = settings, healthy = people - ill;
    const found = Math.round(ill*sensitivity/100), alarms = Math.round(healthy*(100 - specificity)/100);
    return [found, ill - found, alarms, healthy - alarms];
  };

  const kinds = [["#d55e00", "ill, positive: found"], ["#cc79a7", "ill, negative: missed"], ["#0072b2", "healthy, positive: false alarms"],
    ["currentColor", "healthy, negative"]];
  const dot = (color, i) => ["path", {fill: "none", stroke: color, "stroke-width": 13, "stroke-linecap": i % 2 ? "butt" : "round", opacity: i === 3 ? .3 : 1}];
  const [picture, ...dots] = drawing(across*step, people/across*step, kinds.map(([color], i) => dot(color, i)));
  picture.setAttribute("preserveAspectRatio", "xMidYMid meet");
  picture.setAttribute("style", "display: block; width: 100%; height: auto");
  const swatch = ([color], i) => el("span", {"aria-hidden": "true", style: "display: inline-block; width: .8em; height: .8em; margin-right: .4em; background: "
    + color + "; border-radius: " + (i % 2 ? "0" : "50%") + "; opacity: " + (i === 3 ? .3 : 1)});
  const numbers = kinds.map(() => el("span", {}));
  const key = el("div", {}, ...kinds.map((kind, i) => el("p", {}, swatch(kind, i), numbers[i])));
  const said = el("output", {class: "covid-play-score", "aria-live": "polite"}), other = el("p", {});

  const draw = () => {
    const n = counts(), positive = n[0] + n[2], negative = n[1] + n[3];
    let place = 0;
    dots.forEach((path, i) => {
      let d = "";
      const shown = group === "all" || (group === "positive") === (i % 2 === 0);
      for (let k = 0; k < n[i] && shown; k++, place++) {
        const x = (place % across + .5)*step, y = (Math.floor(place/across) + .5)*step;
        d += i % 2 ? "M" + (x - 6.5) + " " + y + "h13" : "M" + x + " " + y + "h.01";
      }
      path.setAttribute("d", d);
      numbers[i].textContent = kinds[i][1] + ", " + n[i];
    });
    said.textContent = positive ? "Positive: " + positive + " people, " + n[0] + " of them ill: " + number(100*n[0]/positive) + " %" : "Nobody is positive.";
    other.textContent = negative ? "Negative: " + negative + " people, " + n[1] + " of them ill: " + number(100*n[1]/negative, 1) + " %." : "Nobody is negative.";
    tell(figure, {...settings, group, counts: n, ppv: positive ? n[0]/positive : null, npv: negative ? n[3]/negative : null});
  };

  const set = name => value => { settings[name] = value; draw(); };
  const sliders = {
    ill: slider("Ill among those examined", {min: 1, max: 600, step: 1, value: settings.ill, unit: "of 1,000"}, set("ill")),
    sensitivity: slider("Sensitivity", {min: 0, max: 100, step: 1, value: settings.sensitivity, unit: "% of the ill are positive"}, set("sensitivity")),
    specificity: slider("Specificity", {min: 0, max: 100, step: 1, value: settings.specificity, unit: "% of the healthy are negative"}, set("specificity"))};
  const preset = ([text, values]) => button(text, () => {
    for (const [name, value] of Object.entries(values)) settings[name] = sliders[name].set(value);
    draw();
  });
  const which = radios("Show", [["all", "everybody"], ["positive", "the positive"], ["negative", "the negative"]], group, value => { group = value; draw(); });
  draw();
  return [el("div", {class: "covid-play-body"}, el("div", {style: "flex: 3 1 17rem; min-width: 0; max-width: 36rem"}, picture, key),
    el("div", {class: "covid-play-tools"}, said, other, ...Object.values(sliders).map(one => one.root),
      el("div", {class: "covid-play-row"}, ...data.presets.map(preset)), which.root))];
});
