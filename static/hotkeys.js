// <button data-hotkey="Mod+Enter" data-hotkey-scope="source"> is pressed by those keys in the field of that id; Mod is Ctrl or ⌘.
import { install } from "./vendor/hotkey.js";

for (const element of document.querySelectorAll("[data-hotkey]")) install(element);
