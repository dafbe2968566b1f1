"""Checks the documents of a YAML file with the schemas of every Kubernetes version that the package kubernetes-validate has, and prints them
as one JSON array. Unknown fields are errors. Exits with 1 and the first error if a document is invalid."""

import json
import sys

import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions

with open(sys.argv[1], encoding="utf-8") as file:
    documents = list(yaml.safe_load_all(file))
versions = sorted(set(all_versions()))
for document in documents:
    for version in versions:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            sys.exit(f"{document['kind']}, Kubernetes {version}: {error.message}")
print(json.dumps({"versions": versions, "documents": documents}))
