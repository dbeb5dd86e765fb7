CREATE OR REPLACE USER 'kerbside'@'localhost' IDENTIFIED BY '{}';
GRANT ALL ON kerbside.* TO 'kerbside'@'localhost';
