"""Where a guest's memory comes from. One file a backing; :mod:`perfmodel.memory` builds them."""
