"""How twistd starts nodes: a module for each role with the `Options` and `makeService` of its ServiceMaker."""
