// The link was asked for a moment ago: go straight in.
document.querySelector("#look").requestSubmit();
