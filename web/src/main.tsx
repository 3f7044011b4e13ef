import "./style/tokens.css";
import "./style/page.css";
import "./style/app.css";
import { render } from "preact";
import { App } from "./app";

const root = document.getElementById("page");
if (root) render(<App />, root);
