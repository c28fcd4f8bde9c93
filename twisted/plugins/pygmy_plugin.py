"""How twistd learns of Pygmy's three kinds of node. Data only: nothing of pygmy is imported until one is chosen."""

from twisted.application.service import ServiceMaker

catalog = ServiceMaker(
    "Pygmy catalog", "pygmy.tap.catalog", "A Pygmy catalog node: the books and their stock.", "pygmy-catalog"
)
order = ServiceMaker(
    "Pygmy order", "pygmy.tap.order", "A Pygmy order node: what was sold, to the last copy.", "pygmy-order"
)
frontend = ServiceMaker(
    "Pygmy front end", "pygmy.tap.frontend", "A Pygmy front end: what customers talk to.", "pygmy-frontend"
)
