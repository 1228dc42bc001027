// What of this machine's set-up reaches a build, and in which form.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  type HostSettings,
  hostFiles,
  hostSettingsFrom,
  makeRedactor,
  readHostSettings,
} from "../../src/image/host.ts";

function host(changes: Partial<HostSettings> = {}): HostSettings {
  const machine = { caBundle: undefined, home: "/home/user", isRoot: false, architecture: "x64" };
  return { ...hostSettingsFrom({}, []), ...machine, ...changes };
}

describe("environment and pip's files", () => {
  test("nothing set: the tools' own defaults", () => {
    expect(hostSettingsFrom({}, [])).toEqual({
      defaultIndex: undefined,
      extraIndexes: [],
      mixesIndexes: false,
      findLinkUrls: [],
      findLinkDirectories: [],
      notes: [],
      path: [],
    });
  });

  test("uv's variables", () => {
    const settings = hostSettingsFrom(
      {
        UV_DEFAULT_INDEX: "https://a.example/simple",
        UV_INDEX_URL: "https://old.example/simple",
        UV_INDEX: "torch=https://b.example/simple https://c.example/simple",
        UV_EXTRA_INDEX_URL: "https://d.example/simple",
        UV_FIND_LINKS: "/wheels,https://e.example/wheels.html",
      },
      [],
    );
    expect(settings).toMatchObject({
      defaultIndex: "https://a.example/simple",
      extraIndexes: [
        { name: "torch", url: "https://b.example/simple" },
        { name: undefined, url: "https://c.example/simple" },
        { name: undefined, url: "https://d.example/simple" },
      ],
      mixesIndexes: false,
      findLinkDirectories: ["/wheels"],
      findLinkUrls: ["https://e.example/wheels.html"],
    });
  });

  test("pip's files: comments, several lines, a stronger file and section, other sections", () => {
    const settings = hostSettingsFrom({}, [
      "[global]\n; a comment\nindex-url = https://weak.example/simple\nfind-links = /a\n    /b\n[list]\nindex-url = https://no.example\n",
      "[install]\nindex_url: https://strong.example/simple\n# more\nextra-index-url =\n  https://x.example/simple\n  https://y.example/simple\n",
    ]);
    expect(settings.defaultIndex).toBe("https://strong.example/simple");
    expect(settings.extraIndexes.map(({ url }) => url)).toEqual([
      "https://x.example/simple",
      "https://y.example/simple",
    ]);
    expect(settings.findLinkDirectories).toEqual(["/a", "/b"]);
    expect(settings.mixesIndexes).toBe(true);
  });

  test("pip's variables replace its files; the same folder twice counts once", () => {
    const settings = hostSettingsFrom(
      { PIP_INDEX_URL: "https://env.example/simple", UV_FIND_LINKS: "/w", PIP_FIND_LINKS: "/w" },
      ["[global]\nindex-url = https://file.example/simple\nfind-links = /v\n"],
    );
    expect(settings.defaultIndex).toBe("https://env.example/simple");
    expect(settings.findLinkDirectories).toEqual(["/w"]);
  });

  test("an index in a folder of this machine is left out with a note; a find-links one is not", () => {
    const settings = hostSettingsFrom({ UV_INDEX: "file:///srv/more", PIP_FIND_LINKS: "file:///srv/wheels" }, [
      "[global]\nextra-index-url = file:///srv/simple https://ok.example/simple\n",
    ]);
    expect(settings.extraIndexes.map(({ url }) => url)).toEqual(["https://ok.example/simple"]);
    expect(settings.findLinkDirectories).toEqual(["/srv/wheels"]);
    expect(settings.notes).toEqual([
      expect.stringContaining("file:///srv/simple"),
      expect.stringContaining("file:///srv/more"),
    ]);
  });

  test("the bundle that SSL_CERT_FILE names, and pip's file in the user's folder, are read", async () => {
    const home = await mkdtemp(join(tmpdir(), "image-host-"));
    try {
      await writeFile(join(home, "ca.pem"), "PEM");
      await writeFile(join(home, "pip.conf"), "[global]\nindex-url = https://mine.example/simple\n");
      const environment = {
        SSL_CERT_FILE: join(home, "ca.pem"),
        PIP_CONFIG_FILE: join(home, "pip.conf"),
        PATH: "/bin:/usr/bin",
      };
      expect(await readHostSettings(environment, home)).toMatchObject({
        caBundle: "PEM",
        defaultIndex: "https://mine.example/simple",
        path: ["/bin", "/usr/bin"],
        home,
      });
    } finally {
      await rm(home, { recursive: true });
    }
  });
});

describe("the files of a build step", () => {
  test("name the authorities only where there are some", () => {
    expect(hostFiles(host(), false).env).not.toContain("SSL_CERT_FILE");
    const files = hostFiles(host({ caBundle: "PEM" }), false);
    expect(files["ca.pem"]).toBe("PEM");
    for (const name of ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"]) {
      expect(files.env).toContain(`export ${name}=/run/build/host/ca.pem\n`);
    }
  });

  test("carry indexes and find-links for uv and for pip", () => {
    const settings = host({
      defaultIndex: "https://a.example/simple",
      extraIndexes: [{ name: "torch", url: "https://b.example/simple" }],
      findLinkUrls: ["https://c.example/w.html"],
      mixesIndexes: true,
    });
    const files = hostFiles(settings, true);
    expect(files["uv.toml"]).toBe(
      'index-strategy = "unsafe-best-match"\n' +
        'find-links = ["/run/build/wheelhouse","https://c.example/w.html"]\n' +
        '[[index]]\nname = "torch"\nurl = "https://b.example/simple"\n' +
        '[[index]]\nurl = "https://a.example/simple"\ndefault = true\n',
    );
    expect(files["pip.conf"]).toBe(
      "[global]\nindex-url = https://a.example/simple\nextra-index-url =\n  https://b.example/simple\nfind-links =\n  https://c.example/w.html\n",
    );
  });
});

describe("secrets", () => {
  test("user names and passwords of every address are taken out, as written and decoded", () => {
    const redact = makeRedactor(
      host({
        defaultIndex: "https://user:p%40ss@a.example/simple",
        extraIndexes: [{ name: undefined, url: "https://token@b.example/simple" }],
      }),
    );
    expect(redact("GET https://user:p%40ss@a.example/simple, password p@ss, token")).toBe(
      "GET https://***@a.example/simple, password ***, ***",
    );
  });

  test("without any, texts stay as they are", () => {
    expect(makeRedactor(host({ defaultIndex: "https://a.example/simple" }))("a: b")).toBe("a: b");
  });

  test("a note about an index does not tell them", () => {
    expect(hostSettingsFrom({ PIP_INDEX_URL: "file://user:secret@/srv" }, []).notes.join()).not.toContain("secret");
  });
});
