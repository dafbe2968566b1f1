DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'www-data') THEN CREATE ROLE "www-data" LOGIN; END IF;
END $$;
CREATE TABLE IF NOT EXISTS visits (id serial PRIMARY KEY, path text NOT NULL);
GRANT ALL ON visits, visits_id_seq TO "www-data";
