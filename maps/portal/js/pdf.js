// One page of PDF with a picture on it: what is needed to print a map, and no more (ISO 32000-1, 7.5 and 8.9.5).

const MM = 72 / 25.4;

export async function pdfOf(canvas, { widthMm = 297, heightMm = 210, marginMm = 8, title = "" } = {}) {
  const jpeg = new Uint8Array(await (await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.93))).arrayBuffer());
  const width = widthMm * MM, height = heightMm * MM, room = marginMm * MM;
  const scale = Math.min((width - 2 * room) / canvas.width, (height - 2 * room) / canvas.height), w = canvas.width * scale, h = canvas.height * scale;
  const draw = `q ${w.toFixed(2)} 0 0 ${h.toFixed(2)} ${((width - w) / 2).toFixed(2)} ${((height - h) / 2).toFixed(2)} cm /P Do Q`;
  const hex = [...`\uFEFF${title}`].flatMap((c) => [...Array(c.length).keys()].map((i) => c.charCodeAt(i).toString(16).padStart(4, "0"))).join("");
  const encoder = new TextEncoder(), parts = [], offsets = [];
  let size = 0;
  const put = (data) => { const bytes = typeof data === "string" ? encoder.encode(data) : data; parts.push(bytes); size += bytes.length; };
  const object = (text) => { offsets.push(size); put(`${offsets.length} 0 obj\n${text}\nendobj\n`); };
  put("%PDF-1.4\n");
  object("<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /DisplayDocTitle true >> >>");
  object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>");
  object(`<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${width.toFixed(2)} ${height.toFixed(2)}] /Resources << /XObject << /P 5 0 R >> >> /Contents 4 0 R >>`);
  object(`<< /Length ${draw.length} >>\nstream\n${draw}\nendstream`);
  offsets.push(size);
  put(`5 0 obj\n<< /Type /XObject /Subtype /Image /Width ${canvas.width} /Height ${canvas.height} /ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode /Length ${jpeg.length} >>\nstream\n`);
  put(jpeg);
  put("\nendstream\nendobj\n");
  object(`<< /Title <${hex}> /Producer (Baige) >>`);
  const start = size;
  put(`xref\n0 ${offsets.length + 1}\n0000000000 65535 f \n${offsets.map((at) => `${String(at).padStart(10, "0")} 00000 n \n`).join("")}`);
  put(`trailer\n<< /Size ${offsets.length + 1} /Root 1 0 R /Info 6 0 R >>\nstartxref\n${start}\n%%EOF\n`);
  return new Blob(parts, { type: "application/pdf" });
}
