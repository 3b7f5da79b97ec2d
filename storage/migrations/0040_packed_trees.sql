-- Octets that come out of a Welcome's tree, where it travels packed.
ALTER TABLE welcomes ADD COLUMN tree_inflated INTEGER;
