// A form that came back with complaints takes the focus to their summary, so that keyboards and screen readers start there; once each,
// for what happens elsewhere on the page must not take it away again.
let told;
const complain = () => {
  const summary = document.querySelector(".error-summary");
  if (summary !== told) summary?.focus();
  told = summary;
};
complain();
document.addEventListener("htmx:after:swap", complain);
