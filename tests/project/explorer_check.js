/* What tests/project/test_explorer.py runs in the page: VECTORS, from refimpl.spec, against the page's functions. */
const tally = {}, wrong = [];
const ask = (kind, what, got, expected) => {
  tally[kind] = (tally[kind] ?? 0) + 1;
  if (got !== expected && wrong.length < 30) wrong.push(`${kind} ${what}: got ${got}, expected ${expected}`);
};
const attemptText = action => { try { return action(); } catch (error) { return "refused"; } };
const ratio = t => { const [n, d] = t.replace("-", "").split("/"); return rational(BigInt(n), BigInt(d)); };
const read = t => { const negative = t[0] === "-", rest = t.replace("-", "");
  return rest === "nan" ? nan(negative) : rest === "inf" ? infinite(negative) : { kind: "finite", negative, m: ratio(rest) }; };
const same = (v, t) => { const e = read(t); return v.kind === e.kind && v.negative === e.negative && compare(v.m, e.m) === 0; };
for (const [name, values] of VECTORS.decode ?? []) {
  const f = readFormat(name);
  values.split(" ").forEach((t, code) => {
    const v = decode(BigInt(code), f);
    ask("decode", `${name} ${code}`, same(v, t), true);
    if (v.kind === "finite") ask("written", `${name} ${code}`, compare(parseNumber(typed(v)).m, v.m), 0);
  });
}
for (const [name, values, rules] of VECTORS.encode ?? []) {
  const f = readFormat(name), read_ = values.split(" ").map(read);
  for (const [rounding, overflow, nanRule, randoms, bits, codes] of rules) codes.split(" ").forEach((code, i) =>
    ask("encode", `${name} ${rounding} ${overflow} ${nanRule} ${values.split(" ")[i]}`,
      attemptText(() => encode(read_[i], f, rounding, overflow, nanRule, BigInt(randoms[i % randoms.length]), bits).toString()), code));
}
for (const [name, x, below, above, tie] of VECTORS.near ?? []) {
  const f = readFormat(name), rank = rankBelow(signed(read(x)), f), text = r => { const v = reduced(r); return `${v.n}/${v.d}`; };
  ask("near", `${name} ${x}`, [valueAt(rank, f), valueAt(rank + 1n, f), tieBetween(rank, f)].map(text).join(" "), `${below} ${above} ${tie}`);
}
for (const [variant, nu, bits, ways] of VECTORS.ways ?? []) ask("ways", `${variant} ${nu}`, Number(waysUp(ratio(nu), variant, bits)), ways);
for (const [name, texts, codes] of VECTORS.typed ?? [])
  texts.forEach((t, i) => ask("typed", `${name} ${t}`, encode(parseNumber(t), readFormat(name)).toString(), codes[i]));
for (const [name, code, decimals, hex] of VECTORS.written ?? []) {
  const v = decode(BigInt(code), readFormat(name));
  ask("written", `${name} ${code}`, `${decimal(signed(v))} ${hexFloat(v)}`, `${decimals} ${hex}`);
}
for (const [name, scale, zero, values, rounding, random, codes, decoded] of VECTORS.integers ?? []) {
  const f = { ...readFormat(name), scale: ratio(scale), zero: BigInt(zero) };
  const integer = t => Number(toSigned(encode(read(t), f, rounding, "", "", BigInt(random), 3), f));
  values.split(" ").forEach((t, i) => ask("integers", `${name} ${rounding} ${t}`, integer(t), codes[i]));
  for (const [code, t] of decoded) ask("integers", `${name} ${code}`, same({ ...decode(toBits(BigInt(code), f), f), negative: t[0] === "-" }, t), true);
}
for (const [name, scale, values, codes, decoded] of VECTORS.books ?? []) {
  const f = { ...readFormat(name), scale: ratio(scale) };
  values.split(" ").forEach((t, i) => ask("books", `${name} ${t}`, Number(encode(read(t), f)), codes[i]));
  decoded.split(" ").forEach((t, code) => ask("books", `${name} ${code}`, same(decode(BigInt(code), f), t), true));
}
for (const [name, rule, rounding, tensor, values, scaleCode, codes, decoded] of VECTORS.blocks ?? []) {
  const f = readFormat(name), got = encodeBlock(values.split(" ").map(read), f, rule, ratio(tensor), rounding);
  ask("blocks", `${name} ${rule} ${values}`, `${got.scaleCode}: ${got.codes}`, `${scaleCode}: ${codes}`);
  const back = decodeBlock(got.scaleCode, got.codes, f, ratio(tensor)), expected = decoded.split(" ");
  ask("blocks", `${name} decoded ${values}`, back.every((v, i) => same(v, expected[i])), true);
}
for (const [name, largest, scale] of VECTORS.tensors ?? [])
  ask("tensors", `${name} ${largest}`, compare(tensorScale(ratio(largest), readFormat(name)), ratio(scale)), 0);
for (const [given, name] of VECTORS.names ?? []) ask("names", given, attemptText(() => readFormat(given).name), name);
if (VECTORS.page) {
  const show = changes => { location.replace("#" + new URLSearchParams(changes)); readAddress(); render(); };
  const errors = () => [...document.querySelectorAll("[role=alert]")].map(e => e.textContent).join("");
  addEventListener("error", event => wrong.push(event.message));
  ask("page", "the address", $("format").value + $("code").value + $("to").value, "float8_e5m20x34float4_e2m1fn");
  document.querySelector("[data-bit='0']").click();
  ask("page", "a bit", $("code").value + $("value").value + location.hash, "0x350.3125#format=float8_e5m2&code=0x35");
  $("up").click();
  ask("page", "the next value", $("code").value, "0x36");
  const values = ["0.3", "-1e-7", "1e30", "-0", "2.5", "448", "1/3"];
  [...allNames(), "e4m3_flush", "e3m2scale", "binary8p1uf", "e16m46", "posit32_5", "e0m3",
    "blocks of 3 int5 scaled by e5m0scale", "blocks of 4 e3m2 scaled by bfloat16 and float32"].forEach((name, i) => {
    for (const value of values.slice(i % 5, i % 5 + 3)) {
      show({ format: name, value, to: name === "e4m3_flush" ? "int8" : "bfloat16", block: "nvfp4" });
      ask("page", `${name} ${value}`, errors() + (document.querySelector("main").textContent.match(/undefined|\[object|null|function/) ?? ""), "");
    }
  });
  for (const value of ["inf", "-inf", "nan", "-nan"]) for (const name of ["float8_e4m3fn", "e4m3", "posit8_2", "binary8p3uf", "float8_e8m0fnu"]) {
    show({ format: name, value, to: "float8_e5m2" });
    ask("page", `${name} ${value}`, errors(), "");
  }
  show({ rounding: "<b>", overflow: "up", rule: "<i>", block: "x", random: "x", zero: "x", value: "<u>0" });
  ask("page", "nothing in the address is markup", document.querySelectorAll("b, i, u").length + $("rounding").value, "0ties_to_even");
  for (const changes of [{ format: "float9" }, { value: "1,5" }, { value: "1/0" }, { code: "0x100" }, { to: "e99m1" }, { values: "1 x" }, { format: "int8", scale: "0" }, { format: "int8", value: "nan" },
    { block: "bfloat16" }, { block: "x" }, { format: "blocks of 0 e2m1 scaled by e8m0fnu" }, { format: "blocks of 8 e2m1 scaled by e4m3" }]) {
    show(changes);
    ask("page", JSON.stringify(changes), errors().length > 10, true);
  }
  show({ format: "bfloat16", to: "float8_e4m3fn", value: "1.0626" });
  ask("page", "double rounding", $("conversion").textContent.includes("Double rounding"), true);
  show({ format: "float8_e4m3fn" });
  const type = (id, text) => { $(id).value = text; $(id).dispatchEvent(new Event("input", { bubbles: true })); };
  const fields = [["m", "2", "e4m2fn"], ["bias", "9", "e4m2b9fn"], ["specials", "fnuz", "e4m2fnuz"], ["e", "5", "float8_e5m2fnuz"],
    ["kind", "posit", "posit8_2"], ["es", "1", "posit8_1"], ["kind", "integer", "int8"], ["bits", "4", "int4"],
    ["kind", "block", "mxfp4_e2m1"], ["element", "e2m3", "mxfp6_e2m3"], ["size", "16", "blocks of 16 float6_e2m3fn scaled by float8_e8m0fnu"],
    ["block-scale", "F8E4M3FN", "blocks of 16 float6_e2m3fn scaled by float8_e4m3fn and float32"], ["element", "e2m1fn", "nvfp4"],
    ["block-scale", "e5m0scale", "blocks of 16 float4_e2m1fn scaled by e5m0scale_unsigned"],
    ["element", "int4", "blocks of 16 int4 scaled by e5m0scale_unsigned"], ["kind", "integer", "int8"], ["bits", "4", "int4"]];
  for (const [id, text, name] of fields) { type(id, text); ask("page", `the field ${id}`, $("format").value + errors(), name); }
  $("full").click();
  ask("page", "the box", $("format").value, "int4_full");
  for (const [id, text, code] of [["scale", "0.25", "0x1"], ["zero", "-2", "0xf"], ["value", "-0.7", "0xb"], ["rounding", "toward_zero", "0xc"],
    ["format", "F8E4M3FN", "0xb3"], ["code", "0x7e", "0x7e"], ["overflow", "saturate", "0x7e"], ["value", "1e9", "0x7e"]]) {
    type(id, text);
    ask("page", `typed ${id}`, $("code").value + errors(), code);
  }
  for (const [format, value, tie] of [["float8_e4m3fn", "500", "464: beyond it"], ["float8_e5m2", "-6e4", "-61440: from there on"]]) {
    show({ format, value });
    ask("page", "the tie of overflow", $("near").textContent.includes(tie), true);
  }
  show({ format: "float8_e4m3fn" });
  const press = key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  document.querySelector(".here a").focus();
  ["ArrowDown", "ArrowRight"].forEach(press);
  ask("page", "arrow keys among codes", document.activeElement.ariaLabel, "code 0x3b, 1.375");
  document.querySelector("[data-bit='7']").focus();
  ["ArrowRight", "ArrowRight", "ArrowLeft"].forEach(press);
  document.activeElement.click();
  ask("page", "arrow keys among bits", $("code").value + document.activeElement.dataset.bit, "0x6a6");
  for (const control of document.querySelectorAll("input, select, button"))
    ask("page", "a label of " + control.id, Boolean(control.labels?.length || control.ariaLabel || control.textContent.trim()), true);
  for (const picture of document.querySelectorAll("svg")) ask("page", "a picture's label", Boolean(picture.ariaLabel && picture.role === "img"), true);
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  ask("page", "ids", new Set(ids).size, ids.length);
  document.body.style.width = "360px";
  for (const name of ["float8_e4m3fn", "float64", "posit32_2", "mxfp4_e2m1"]) {
    show({ format: name, value: "0.1" });
    ask("page", `${name} on a phone`, document.body.scrollWidth <= 360, true);
  }
}
const verdict = document.createElement("pre");
verdict.id = "verdict";
verdict.textContent = JSON.stringify({ tally, wrong });
document.body.append(verdict);
