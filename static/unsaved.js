// A form marked data-unsaved whose words are not saved yet asks before its page is left. A preview opens beside it and saves nothing.
const form = document.querySelector("form[data-unsaved]");
let unsaved = Boolean(document.querySelector(".error-summary"));
form?.addEventListener("input", () => {
  unsaved = true;
});
form?.addEventListener("submit", (event) => {
  unsaved &&= event.submitter?.formTarget === "_blank";
});
window.addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
