// While the organisation is put back, its pages say "back in a moment", and then ask everybody to sign in: follow there.
document.addEventListener("htmx:after:request", (event) => {
  const answer = event.detail.ctx.response;
  if (event.target.closest?.("[data-order]") && answer?.raw.redirected) location.assign(answer.raw.url);
});
