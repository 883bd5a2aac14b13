// Validates objects of KEDA and the Prometheus operator by the schemas of their custom resource definitions.
// It is run as a copy beside node_modules: node custom_resources.mjs < objects.json. A line for each object.
import { readFileSync } from "node:fs";

const PACKAGES = {
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};
for (const each of JSON.parse(readFileSync(0, "utf8"))) {
  const [group, version] = each.apiVersion.split("/");
  const models = await import(`${PACKAGES[group]}/${group}/${version}`);
  let verdict = "valid";
  try {
    new models[each.kind](each).validate();
  } catch (error) {
    verdict = error.message;
  }
  console.log(`${each.kind}: ${verdict}`);
}
