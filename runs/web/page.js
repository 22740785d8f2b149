import {Analysis, lacks} from "./analysis.js";
window.lacks = lacks;
window.load = async () => { window.a = new Analysis(); return window.a.load(); };
