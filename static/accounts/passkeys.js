// <button data-passkey="/where/to/ask" data-into="name of a field" hidden> appears where the browser knows passkeys. It asks
// there what to ask the passkey, makes or uses one, and sends its form with the answer.
const able = window.PublicKeyCredential?.parseRequestOptionsFromJSON && navigator.credentials;

for (const button of document.querySelectorAll("button[data-passkey]")) {
  if (!able) continue;
  button.hidden = false;
  for (const note of document.querySelectorAll("[data-passkey-missing]")) note.hidden = true;
  button.addEventListener("click", () => {
    if (!button.hasAttribute("data-wants-form") || button.form.reportValidity()) answer(button);
  });
}

async function answer(button) {
  const trouble = button.form.querySelector("[data-passkey-trouble]");
  trouble.hidden = true;
  try {
    const asked = await question(button);
    const answered = asked.rp
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(asked) });
    button.form.elements[button.dataset.into].value = JSON.stringify(answered);
    button.form.submit();
  } catch {
    trouble.hidden = false;
    button.focus();
  }
}

async function question(button) {
  const sent = new FormData();
  sent.set("csrf_token", button.form.elements.csrf_token.value);
  const response = await fetch(button.dataset.passkey, { method: "POST", body: sent });
  // Whoever has to prove themselves first is led to where they can.
  if (!response.headers.get("Content-Type")?.includes("json")) location.reload();
  return response.json();
}
