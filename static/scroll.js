// What is wider than its place scrolls; this lets the keyboard reach it, for browsers that do not by themselves.
for (const box of document.querySelectorAll(".prose :is(pre, table), .table-scroll")) {
  if (box.scrollWidth <= box.clientWidth) continue;
  box.tabIndex = 0;
}
