# PYGMY_NODE=0 PYGMY_CLUSTER=cluster.txt PYGMY_DATA=pygmy-data twistd --pidfile= -y tac/catalog.tac
from pygmy.tap.catalog import plugin
from pygmy.tap.maker import application_from_environment

application = application_from_environment(plugin)
