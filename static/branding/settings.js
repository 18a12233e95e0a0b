// Choosing a colour of one's own draws the example anew, and takes it.
const form = document.querySelector("#settings");
const example = form.querySelector("img[data-example]");
const colours = [form.elements.brand_colour, form.elements.accent];
let waiting;

function draw() {
  const asked = new URLSearchParams({ brand: colours[0].value, accent: colours[1].value });
  example.src = `/desk/settings/example.svg?${asked}`;
}

for (const colour of colours) {
  colour.addEventListener("input", () => {
    form.elements.preset.value = "own";
    clearTimeout(waiting);
    waiting = setTimeout(draw, 150);
  });
}
