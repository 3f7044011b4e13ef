// The catalogue in the language of the browser, or in the one that was chosen.

import { de } from "./words/de";
import { en, type Words } from "./words/en";

const CATALOGUES: Record<string, Words> = { en, de };
const KEY = "evergreen-language";

function chosen(): Words {
  let wanted: readonly string[] = navigator.languages;
  try {
    const stored = localStorage.getItem(KEY);
    if (stored !== null) wanted = [stored, ...wanted];
  } catch {
    // A browser may keep storage from the page.
  }
  for (const language of wanted) {
    const found = CATALOGUES[language.slice(0, 2).toLowerCase()];
    if (found) return found;
  }
  return en;
}

/** The texts of the page. */
export const words: Words = chosen();

export const languages: [string, string][] = [["en", "English"], ["de", "Deutsch"]];

export function setLanguage(language: string): void {
  try {
    localStorage.setItem(KEY, language);
  } catch {
    return;
  }
  location.reload();
}
