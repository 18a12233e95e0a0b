// A form that came back with complaints takes the focus to their summary, so that keyboards and screen readers start there.
const complain = () => document.querySelector(".error-summary")?.focus();
complain();
document.addEventListener("htmx:after:swap", complain);
