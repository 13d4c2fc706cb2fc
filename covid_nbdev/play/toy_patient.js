// A toy patient, three ellipses, and one lesion in it: the reader says where it lies and how much of its air is replaced.
start("toy_patient", async (figure, data) => {
  const {side, body, lungs, air_hu, lung_hu, tissue_hu, tube_hu, black_hu, white_hu, colors} = data;
  const state = {...data.lesion, labels: false};

  const canvas = el("canvas", {width: side, height: side, tabindex: 0, role: "application",
    "aria-label": "The toy patient. Arrow keys move the lesion by one pixel, with Shift by eight.",
    pointerdown: event => { canvas.setPointerCapture(event.pointerId); put(...place(canvas, event)); },
    pointermove: event => { if (event.buttons) put(...place(canvas, event)); },
    keydown: event => {
      const way = arrow(event, 8);
      if (way) put(state.x + way[0], state.y + way[1]);
    }});
  canvas.style.imageRendering = "pixelated";
  canvas.style.touchAction = "pinch-zoom";
  const context = canvas.getContext("2d"), picture = context.createImageData(side, side);
  const stage = el("div", {class: "covid-play-stage", style: "max-width: 26rem"}, canvas,
    el("span", {style: "left: .3rem", "aria-hidden": "true"}, "R"), el("span", {style: "right: .3rem", "aria-hidden": "true"}, "L"));

  const inside = (ellipse, x, y) => ((x - ellipse[0])/ellipse[2])**2 + ((y - ellipse[1])/ellipse[3])**2 < 1;
  const replaced = share => lung_hu + share*(tissue_hu - lung_hu);
  const middle = el("output", {"aria-live": "polite"}), tubes = el("output", {"aria-live": "polite"}), named = el("output", {"aria-live": "polite"});

  const draw = () => {
    let haze = 0, dense = 0, lung = 0;
    for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) {
      let hu = inside(body, x, y) ? tissue_hu : air_hu, color = null;
      if (lungs.some(one => inside(one, x, y))) {
        const share = state.share/100*between(0, 1.6 - Math.hypot(x - state.x, y - state.y)/state.radius, 1);
        const [beside, below] = [Math.abs(x - state.x) <= 14, y - state.y];
        hu = beside && (below === -3 || below === -4) ? tube_hu.vessel : beside && (below === 3 || below === 4) ? tube_hu.bronchus : replaced(share);
        lung++;
        if (share > .7) { dense++; color = colors[1]; } else if (share > .15) { haze++; color = colors[0]; }
      }
      const gray = Math.round(255*between(0, (hu - black_hu)/(white_hu - black_hu), 1));
      const shown = state.labels && color ? color.map(part => .5*part + .5*gray) : [gray, gray, gray];
      picture.data.set([...shown, 255], 4*(y*side + x));
    }
    context.putImageData(picture, 0, 0);
    const middle_hu = replaced(state.share/100), brighter = tube_hu.vessel - middle_hu, darker = middle_hu - tube_hu.bronchus;
    middle.textContent = "The middle of the lesion: " + number(lung_hu) + " + " + number(state.share/100, 2) + " \u00d7 "
      + number(tissue_hu - lung_hu) + " = " + number(middle_hu) + " HU.";
    tubes.textContent = "The vessel is " + number(brighter) + " HU brighter, the bronchus " + number(darker) + " HU darker.";
    named.textContent = "Of the lungs, " + number(100*haze/lung, 1) + " % are ground glass, " + number(100*dense/lung, 1) + " % consolidation.";
    tell(figure, {...state, middle_hu, brighter, darker, ground_glass: haze/lung, consolidation: dense/lung});
  };
  const put = (x, y) => {
    state.x = between(0, Math.round(x), side - 1);
    state.y = between(0, Math.round(y), side - 1);
    draw();
  };
  const set = name => value => { state[name] = value; draw(); };
  const shares = slider("Air replaced in the middle", {min: 0, max: 100, step: 1, value: state.share, unit: "%"}, set("share"));
  const radii = slider("Radius", {min: 7, max: 20, step: 1, value: state.radius, unit: "pixels"}, set("radius"));
  const check = el("input", {type: "checkbox", change: () => { state.labels = check.checked; draw(); }});
  draw();
  return [el("div", {class: "covid-play-body"}, stage, el("div", {class: "covid-play-tools"}, shares.root, radii.root,
    el("label", {}, check, el("span", {}, "Color the labels: ground glass blue, consolidation orange")), middle, tubes, named))];
});
