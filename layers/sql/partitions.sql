-- Uniqueness over a layer whose rows lie in partitions: its ids and keys stand once more in a narrow table, whose indexes see to it.
-- The triggers run at the end of a statement, with the rights of the owner; first argument: the columns of the key table, quoted, with commas.
CREATE SCHEMA IF NOT EXISTS baige_parts;
CREATE OR REPLACE FUNCTION baige_sys.keep_keys()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    columns text := TG_ARGV[0];
    present text := (SELECT string_agg('n.' || c, ', ') FROM unnest(string_to_array(TG_ARGV[0], ', ')) c);
    known text := (SELECT string_agg('k.' || c, ', ') FROM unnest(string_to_array(TG_ARGV[0], ', ')) c);
BEGIN
    IF TG_OP = 'INSERT' THEN
        EXECUTE format('INSERT INTO baige_parts.%I (%s) SELECT %s FROM new_rows n', TG_TABLE_NAME, columns, present);
    ELSIF TG_OP = 'UPDATE' THEN
        EXECUTE format(
            'UPDATE baige_parts.%I k SET (%s) = ROW(%s) FROM new_rows n WHERE k.id = n.id AND ROW(%s) IS DISTINCT FROM ROW(%s)',
            TG_TABLE_NAME, columns, present, known, present);
    ELSE
        EXECUTE format('DELETE FROM baige_parts.%I k USING old_rows o WHERE k.id = o.id', TG_TABLE_NAME);
    END IF;
    RETURN NULL;
END $$;
