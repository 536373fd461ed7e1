/* Draws the layers that a page carries, with Leaflet and nothing else. Names of features are only ever written as text, never as HTML. */
var Baige = (function () {
  "use strict";

  var POINTS_AT_ONCE = 2500, SHAPES_AT_ONCE = 12000, CLUSTER_PX = 84, SECTOR_ZOOM = 16, SECTORS_AT_ONCE = 500, HASH = /^#(\d+(?:\.\d+)?)\/(-?\d+\.\d+)\/(-?\d+\.\d+)$/;

  function element(tag, attributes) {
    var made = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) { made.setAttribute(name, attributes[name]); });
    for (var n = 2; n < arguments.length; n++) {
      made.appendChild(typeof arguments[n] === "string" ? document.createTextNode(arguments[n]) : arguments[n]);
    }
    return made;
  }

  function both(zh, en) {
    var made = document.createDocumentFragment();
    made.appendChild(element("span", { lang: "zh" }, zh));
    made.appendChild(element("span", { lang: "en" }, en));
    return made;
  }

  /* Encoded polyline (see maps/encoding.py) to [[lat, lon], …]. */
  function decode(text, quantum) {
    var found = [], x = 0, y = 0, at = 0, turn = 0;
    while (at < text.length) {
      var shift = 0, value = 0, byte, scale = 1;
      do {
        byte = text.charCodeAt(at++) - 63;
        value += (byte & 31) * scale; scale *= 32; shift += 5;
      } while (byte >= 32);
      var step = value % 2 ? -(value + 1) / 2 : value / 2;
      if (turn === 0) { x += step; turn = 1; } else { y += step; turn = 0; found.push([y * quantum, x * quantum]); }
    }
    return found;
  }

  function column(packed) {
    if (packed.v) { return function (n) { return packed.v[n]; }; }
    return function (n) { return packed.i[n] < 0 ? null : packed.d[packed.i[n]]; };
  }

  function stationing(metres) {
    var m = Math.round(metres), sign = m < 0 ? "-" : "";
    m = Math.abs(m);
    return sign + "K" + Math.floor(m / 1000) + "+" + String(m % 1000).padStart(3, "0");
  }

  function Layer(data, map, base) {
    this.data = data; this.map = map; this.base = base;
    this.on = data.visible; this.paths = []; this.group = L.layerGroup();
    this.columns = data.columns.map(column); this.zoomOf = column(data.zoom);
    this.count = data.cls.length;
    this.decoded = null;
    this.hiddenClasses = {};
    this.partial = false;
  }

  Layer.prototype.read = function () {
    if (this.decoded) { return; }
    var quantum = this.data.quantum, g = this.data.geometry, shapes = new Array(this.count), boxes = new Array(this.count);
    for (var n = 0; n < this.count; n++) {
      var kind = g.p ? 0 : g.k[n], coordinates;
      if (g.p) { coordinates = decode(g.p[n], quantum)[0]; }
      else if (kind === 0) { coordinates = decode(g.g[n][0], quantum)[0]; }
      else if (kind === 1) { coordinates = g.g[n].map(function (part) { return decode(part, quantum); }); }
      else { coordinates = g.g[n].map(function (polygon) { return polygon.map(function (ring) { return decode(ring, quantum); }); }); }
      shapes[n] = { kind: kind, at: coordinates, path: null };
      var box = [90, 180, -90, -180], flat = kind === 0 ? [coordinates] : (kind === 1 ? coordinates.flat() : coordinates.map(function (p) { return p[0]; }).flat());
      for (var k = 0; k < flat.length; k++) {
        if (flat[k][0] < box[0]) { box[0] = flat[k][0]; }
        if (flat[k][1] < box[1]) { box[1] = flat[k][1]; }
        if (flat[k][0] > box[2]) { box[2] = flat[k][0]; }
        if (flat[k][1] > box[3]) { box[3] = flat[k][1]; }
      }
      boxes[n] = box;
    }
    this.data.geometry = null;
    this.decoded = shapes; this.boxes = boxes;
  };

  Layer.prototype.field = function (name) {
    var fields = this.data.fields;
    for (var k = 0; k < fields.length; k++) { if (fields[k].name === name) { return this.columns[k]; } }
    return null;
  };

  Layer.prototype.nameOf = function (n) {
    var by = this.field(this.data.title) || this.field("name_zh");
    var value = by && by(n);
    return value === null || value === undefined || value === "" ? null : String(value);
  };

  Layer.prototype.popup = function (n) {
    var data = this.data, box = element("div", { "class": "bg-popup" }), name = this.nameOf(n);
    box.appendChild(element("p", { "class": "bg-kicker" }, both(data.zh, data.en)));
    box.appendChild(name ? element("h3", {}, name) : element("h3", {}, both(data.classes[data.cls[n]].zh, data.classes[data.cls[n]].en)));
    var table = element("table"), self = this;
    data.fields.forEach(function (field, k) {
      var value = self.columns[k](n);
      if (value === null || value === undefined || (field.name === data.title && name)) { return; }
      var cell = element("td");
      if (field.terms && field.terms[value]) { cell.appendChild(both(field.terms[value][0], field.terms[value][1])); }
      else if (field.chainage && typeof value === "number") { cell.textContent = stationing(value); }
      else if (field.share) { cell.textContent = (Math.round(value * 1000) / 10) + " %"; }
      else if (typeof value === "number") { cell.textContent = (Math.abs(value) >= 1000 && field.unit ? Math.round(value).toLocaleString("en") : String(Math.round(value * 100) / 100)) + (field.unit ? " " + field.unit : ""); }
      else { cell.textContent = value; }
      table.appendChild(element("tr", {}, element("th", { scope: "row" }, both(field.zh, field.en)), cell));
    });
    box.appendChild(table);
    return box;
  };

  Layer.prototype.pathOf = function (n, renderer) {
    var shape = this.decoded[n];
    if (shape.path) { return shape.path; }
    var options = Object.assign({ renderer: renderer, interactive: !this.base }, this.data.classes[this.data.cls[n]].paths[shape.kind]);
    shape.path = shape.kind === 0 ? L.circleMarker(shape.at, options) : shape.kind === 1 ? L.polyline(shape.at, options) : L.polygon(shape.at, options);
    if (!this.base) {
      var self = this;
      shape.path.bindPopup(function () { return self.popup(n); }, { minWidth: 250, maxWidth: 360, maxHeight: 340 });
      shape.path.on("mouseover", function () { this.setStyle({ weight: (options.weight || 1) + 1.5 }); });
      shape.path.on("mouseout", function () { this.setStyle({ weight: options.weight || 1 }); });
    }
    return shape.path;
  };

  Layer.prototype.inView = function (bounds, zoom) {
    var found = [], s = bounds.getSouth(), w = bounds.getWest(), n = bounds.getNorth(), e = bounds.getEast();
    for (var k = 0; k < this.count; k++) {
      var b = this.boxes[k];
      if (b[2] < s || b[0] > n || b[3] < w || b[1] > e || zoom < this.zoomOf(k) || this.hiddenClasses[this.data.cls[k]]) { continue; }
      found.push(k);
    }
    return found;
  };

  Layer.prototype.cluster = function (visible) {
    var map = this.map, zoom = map.getZoom(), cells = {}, self = this;
    visible.forEach(function (n) {
      var p = map.project(self.decoded[n].at, zoom), key = Math.floor(p.x / CLUSTER_PX) + ":" + Math.floor(p.y / CLUSTER_PX);
      (cells[key] = cells[key] || []).push(n);
    });
    Object.keys(cells).forEach(function (key) {
      var members = cells[key];
      if (members.length === 1) { self.group.addLayer(self.pathOf(members[0], self.renderer)); return; }
      var lat = 0, lon = 0, by = {};
      members.forEach(function (n) {
        lat += self.decoded[n].at[0]; lon += self.decoded[n].at[1];
        by[self.data.cls[n]] = (by[self.data.cls[n]] || 0) + 1;
      });
      var from = 0, pie = Object.keys(by).map(function (c) {
        var to = from + by[c] / members.length * 100, text = self.data.classes[c].color + " " + from.toFixed(1) + "% " + to.toFixed(1) + "%";
        from = to; return text;
      }).join(",");
      var size = Math.round(24 + 7 * Math.log10(members.length)), at = [lat / members.length, lon / members.length];
      var icon = L.divIcon({ className: "bg-cluster", iconSize: [size, size], html: '<span style="background:conic-gradient(' + pie + ')"><b>' + members.length + "</b></span>" });
      var marker = L.marker(at, { icon: icon, keyboard: false, title: members.length + " · " + self.data[Baige.lang] });
      marker.on("click", function () {
        var box = L.latLngBounds(members.map(function (n) { return self.decoded[n].at; }));
        map.fitBounds(box.pad(0.2), { maxZoom: Math.max(zoom + 2, 17) });
      });
      self.group.addLayer(marker);
    });
  };

  /* Nominal views: not cut by anything, only where a camera's direction is known. */
  Layer.prototype.sectors = function (visible) {
    var azimuth = this.field("azimuth_deg"), angle = this.field("hfov_deg"), range = this.field("view_dist_m"), self = this;
    if (!azimuth || !range || this.map.getZoom() < SECTOR_ZOOM || visible.length > SECTORS_AT_ONCE) { return; }
    visible.forEach(function (n) {
      var a = azimuth(n), r = range(n), w = angle && angle(n) || 60;
      if (a === null || r === null) { return; }
      var at = self.decoded[n].at, ring = w >= 360 ? [] : [at], cos = Math.cos(at[0] * Math.PI / 180);
      for (var t = 0; t <= 16; t++) {
        var bearing = (a - w / 2 + w * t / 16) * Math.PI / 180;
        ring.push([at[0] + r * Math.cos(bearing) / 111320, at[1] + r * Math.sin(bearing) / 111320 / cos]);
      }
      var color = self.data.classes[self.data.cls[n]].color;
      self.group.addLayer(L.polygon(ring, { renderer: self.renderer, interactive: false, color: color, weight: 0.8, fillColor: color, fillOpacity: 0.14, dashArray: "3 3" }));
    });
  };

  Layer.prototype.draw = function (bounds, zoom) {
    this.group.clearLayers();
    this.partial = false;
    if (!this.on) { return; }
    this.read();
    var visible = this.inView(bounds, zoom), self = this;
    this.visible = visible;
    if (!visible.length) { return; }
    var points = this.decoded[visible[0]].kind === 0 && (this.decoded[visible[visible.length - 1]].kind === 0);
    if (points && visible.length > (zoom >= SECTOR_ZOOM ? SHAPES_AT_ONCE : POINTS_AT_ONCE)) { this.cluster(visible); }
    else {
      if (visible.length > SHAPES_AT_ONCE) {
        visible.sort(function (a, b) { return self.extent(b) - self.extent(a); });
        visible = visible.slice(0, SHAPES_AT_ONCE).sort(function (a, b) { return a - b; });
        this.partial = true;
      }
      if (points) { this.sectors(visible); }
      visible.forEach(function (n) { self.group.addLayer(self.pathOf(n, self.renderer)); });
    }
  };

  Layer.prototype.extent = function (n) { var b = this.boxes[n]; return (b[2] - b[0]) + (b[3] - b[1]); };

  /* Names that do not run into each other; areas only where they are wider than their name. */
  function drawLabels(layers, group, map) {
    group.clearLayers();
    var taken = [], bounds = map.getBounds(), zoom = map.getZoom();
    layers.forEach(function (layer) {
      if (!layer.on || !layer.data.label || zoom < 8) { return; }
      var name = layer.field(layer.data.label);
      if (!name) { return; }
      layer.read();
      var visible = layer.inView(bounds, zoom).filter(function (n) { return layer.decoded[n].kind !== 1 && name(n) !== null && (layer.decoded[n].kind === 2 || !layer.data.anchors || zoom >= 15); });
      visible.sort(function (a, b) { return layer.extent(b) - layer.extent(a); });
      visible.slice(0, 400).forEach(function (n) {
        var text = String(name(n)), box = layer.boxes[n], width = 0;
        for (var k = 0; k < text.length; k++) { width += text.charCodeAt(k) > 255 ? 13 : 7; }
        var at = layer.decoded[n].kind === 0 ? layer.decoded[n].at : decode(layer.data.anchors[n], layer.data.quantum)[0];
        if (layer.decoded[n].kind === 2) {
          var pixels = map.project([box[0], box[3]], zoom).x - map.project([box[0], box[1]], zoom).x;
          if (pixels < width * 1.4 || pixels > 6000 || !bounds.contains(at)) { return; }
        }
        var p = map.latLngToContainerPoint(at), down = layer.decoded[n].kind === 0 ? 13 : 0;  // below a dot, as in the map room
        var own = [p.x - width / 2, p.y + down - 9, p.x + width / 2, p.y + down + 9];
        if (taken.some(function (t) { return own[0] < t[2] + 4 && own[2] > t[0] - 4 && own[1] < t[3] + 2 && own[3] > t[1] - 2; })) { return; }
        taken.push(own);
        var icon = L.divIcon({ className: "bg-label", iconSize: [width + 4, 18], iconAnchor: [width / 2 + 2, 9 - down], html: "" });
        var marker = L.marker(at, { icon: icon, interactive: false, keyboard: false, pane: "labels" });
        group.addLayer(marker);
        marker.getElement().textContent = text;
      });
    });
  }

  function number(n) { return n.toLocaleString("en"); }

  function panel(page, layers, redraw) {
    var aside = element("aside", { "class": "bg-panel", "aria-label": "图层与图例 Layers and legend", tabindex: "-1" });
    var themes = {};
    layers.forEach(function (layer) { (themes[layer.data.theme] = themes[layer.data.theme] || []).push(layer); });
    page.themes.forEach(function (theme) {
      var members = themes[theme.name];
      if (!members) { return; }
      var details = element("details", {}, element("summary", {}, both(theme.zh, theme.en)));
      details.open = theme.name !== "base" && theme.name !== "admin";
      members.slice().reverse().forEach(function (layer) {
        var data = layer.data, box = element("input", { type: "checkbox", id: "layer-" + data.name });
        box.checked = layer.on;
        var list = element("ul", { "class": "bg-legend" });
        list.innerHTML = data.legend;
        list.hidden = !layer.on;
        var count = element("span", { "class": "bg-count" });
        if (data.cls.length < data.total) {
          count.className += " bg-thinned";
          count.textContent = number(data.cls.length) + " / " + number(data.total);
          count.title = "本页只带一部分要素 · this page carries only a part";
        } else { count.textContent = number(data.total); }
        box.addEventListener("change", function () { layer.on = box.checked; list.hidden = !box.checked; redraw(); });
        var label = element("label", { "for": box.id, title: data.about[0] + "\n" + data.about[1] }, both(data.zh, data.en));
        var row = element("div", { "class": "bg-layer" }, box, label, count);
        layer.note = element("p", { "class": "bg-note" });
        layer.note.hidden = true;
        row.appendChild(layer.note);
        row.appendChild(list);
        details.appendChild(row);
      });
      aside.appendChild(details);
    });
    return aside;
  }

  function search(layers, map, redraw) {
    var input = element("input", { type: "search", "class": "bg-search", placeholder: "名称、编码 · name, code", "aria-label": "按名称或编码查找 Find by name or code" });
    var list = element("ul", { "class": "bg-found", role: "listbox" });
    var box = element("div", { "class": "bg-find" }, input, list);
    list.hidden = true;
    function go(layer, n) {
      layer.read();
      if (!layer.on) { layer.on = true; var check = document.getElementById("layer-" + layer.data.name); if (check) { check.checked = true; check.dispatchEvent(new Event("change")); } }
      var b = layer.boxes[n];
      map.fitBounds([[b[0], b[1]], [b[2], b[3]]], { maxZoom: 17, animate: false });
      redraw();
      L.popup({ minWidth: 250, maxWidth: 360, maxHeight: 340 }).setLatLng([(b[0] + b[2]) / 2, (b[1] + b[3]) / 2]).setContent(layer.popup(n)).openOn(map);
      list.hidden = true;
    }
    function find() {
      var words = input.value.trim().toLowerCase(), hits = [];
      list.textContent = "";
      list.hidden = !words;
      if (!words) { return; }
      for (var k = 0; k < layers.length && hits.length < 12; k++) {
        var layer = layers[k], names = ["name_zh", "name_en", layer.data.title].map(layer.field, layer).filter(Boolean);
        layer.data.fields.forEach(function (f, n) { if (/code|_no$|stationing/.test(f.name)) { names.push(layer.columns[n]); } });
        for (var n = 0; n < layer.count && hits.length < 12; n++) {
          for (var m = 0; m < names.length; m++) {
            var value = names[m](n);
            if (value !== null && String(value).toLowerCase().indexOf(words) >= 0) { hits.push([layer, n, String(value)]); break; }
          }
        }
      }
      hits.forEach(function (hit) {
        var button = element("button", { type: "button" }, hit[2], element("small", {}, both(hit[0].data.zh, hit[0].data.en)));
        button.addEventListener("click", function () { go(hit[0], hit[1]); });
        list.appendChild(element("li", {}, button));
      });
      if (!hits.length) { list.appendChild(element("li", { "class": "bg-none" }, both("没有找到", "Nothing found"))); }
    }
    input.addEventListener("input", find);
    input.addEventListener("keydown", function (event) {
      if (event.key === "Enter" && list.querySelector("button")) { list.querySelector("button").click(); }
      if (event.key === "Escape") { input.value = ""; find(); }
    });
    return box;
  }

  function heading(page, map) {
    var head = element("header", { "class": "bg-head" });
    if (page.home) { head.appendChild(element("a", { "class": "bg-home", href: page.home, title: "全部地图 All maps" }, "☰")); }
    var words = element("div", { "class": "bg-words" }, element("h1", {}, both(page.zh, page.en)));
    var facts = element("p", { "class": "bg-facts" });
    page.facts.forEach(function (fact) { facts.appendChild(element("span", {}, both(fact[0], fact[1]))); });
    words.appendChild(facts);
    head.appendChild(words);
    if (page.languages.length > 1) {
      var button = element("button", { type: "button", "class": "bg-language" }, element("span", { lang: "zh" }, "English"), element("span", { lang: "en" }, "中文"));
      button.addEventListener("click", function () { language(Baige.lang === "zh" ? "en" : "zh"); });
      head.appendChild(button);
    }
    var notices = element("div", { "class": "bg-notices" });
    page.notices.forEach(function (notice) { notices.appendChild(element("p", { "class": "bg-notice bg-" + notice[0] }, both(notice[1], notice[2]))); });
    return [head, notices];
  }

  function language(lang) {
    Baige.lang = lang;
    document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
    document.body.classList.toggle("show-zh", lang === "zh");
    document.body.classList.toggle("show-en", lang === "en");
    document.title = Baige.titles[lang];
    try { localStorage.setItem("baige-lang", lang); } catch (error) { Baige.remembered = false; }
  }

  function start(map, page) {
    Baige.titles = { zh: page.zh, en: page.en };
    map.setMaxZoom(20); map.setMinZoom(5);
    map.createPane("base").style.zIndex = 250;
    map.getPane("base").style.pointerEvents = "none";
    map.createPane("labels").style.zIndex = 620;
    map.getPane("labels").style.pointerEvents = "none";
    var ground = L.canvas({ pane: "base", padding: 0.3 }), front = L.canvas({ padding: 0.3, tolerance: 4 });
    var layers = page.layers.map(function (data) {
      var base = data.kind === "base", layer = new Layer(data, map, base);
      layer.renderer = base ? ground : front;
      layer.group.addTo(map);
      return layer;
    });
    var labels = L.layerGroup().addTo(map), labelled = layers.slice().reverse();
    function redraw() {
      var bounds = map.getBounds().pad(0.15), zoom = map.getZoom();
      layers.forEach(function (layer) {
        layer.draw(bounds, zoom);
        if (layer.note) {
          var lowest = Infinity;
          if (layer.on && !layer.visible.length && layer.count) { for (var k = 0; k < layer.count; k++) { lowest = Math.min(lowest, layer.zoomOf(k)); } }
          layer.note.hidden = !(layer.partial || (lowest !== Infinity && zoom < lowest));
          layer.note.textContent = "";
          if (!layer.note.hidden) { layer.note.appendChild(layer.partial ? both("此处要素太多，只画较大的；放大可见全部", "Too many here: only larger ones are drawn; zoom in to see all") : both("放大后显示", "Shown when zoomed in")); }
        }
      });
      drawLabels(labelled, labels, map);
    }
    var side = panel(page, layers.filter(function (layer) { return layer.count || layer.data.total === 0; }), redraw), parts = heading(page, map);
    var toggle = element("button", { type: "button", "class": "bg-toggle", "aria-expanded": "true" }, both("图层", "Layers"));
    toggle.addEventListener("click", function () {
      var open = document.body.classList.toggle("bg-closed");
      toggle.setAttribute("aria-expanded", String(!open));
    });
    var box = map.getContainer();
    var cover = element("div", { "class": "bg-furniture" }, parts[0], parts[1], search(layers.filter(function (l) { return !l.base || l.data.label; }), map, redraw), toggle, side);
    box.appendChild(cover);
    L.DomEvent.disableClickPropagation(cover);
    L.DomEvent.disableScrollPropagation(side);
    L.control.scale({ imperial: false, position: "bottomleft", maxWidth: 140 }).addTo(map);
    map.attributionControl.setPrefix("Leaflet · Baige 百格");
    if (window.innerWidth < 700) { document.body.classList.add("bg-closed"); toggle.setAttribute("aria-expanded", "false"); }
    var remembered = null;
    try { remembered = localStorage.getItem("baige-lang"); } catch (error) { remembered = null; }
    var asked = /[?&]lang=(zh|en)/.exec(location.search); // the gallery's link says it: storage may come later than the page
    if (asked) { remembered = asked[1]; }
    language(page.languages.indexOf(remembered) >= 0 ? remembered : page.languages[0]);
    var place = HASH.exec(location.hash);
    if (place) { map.setView([+place[2], +place[3]], +place[1]); } else if (page.bounds) { map.fitBounds(page.bounds, { paddingTopLeft: [8, 60], maxZoom: 17, animate: false }); }
    map.on("moveend", function () {
      redraw();
      var c = map.getCenter();
      try { history.replaceState(null, "", "#" + map.getZoom() + "/" + c.lat.toFixed(5) + "/" + c.lng.toFixed(5)); } catch (error) { Baige.permalink = false; }
    });
    redraw();
    Baige.layers = layers;
    Baige.map = map;
    document.body.classList.add("bg-ready");
  }

  return { start: start, language: language, decode: decode, stationing: stationing, lang: "zh" };
})();
