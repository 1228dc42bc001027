// Versions: what counts as the version of a pack or of a package. Shapes only; nothing is compared here.

/** Source: PEP 440, appendix B, with the separators and spellings it normalises. */
const PEP_440 =
  /^v?(?:\d+!)?\d+(?:\.\d+)*(?:[-_.]?(?:alpha|beta|preview|pre|rc|a|b|c)[-_.]?\d*)?(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?(?:[-_.]?dev[-_.]?\d*)?(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?$/i;

/** Source: semver.org 2.0.0; leading zeros are let in. */
const SEMVER = /^\d+\.\d+\.\d+(?:-[0-9a-z-]+(?:\.[0-9a-z-]+)*)?(?:\+[0-9a-z-]+(?:\.[0-9a-z-]+)*)?$/i;

/** A version of a Python package. */
export function isPythonVersion(text: string): boolean {
  return text.length <= 100 && PEP_440.test(text);
}

/** A version of a pack: as Python packages or as npm packages spell it. */
export function isPackVersion(text: string): boolean {
  return text.length <= 100 && (PEP_440.test(text) || SEMVER.test(text));
}
